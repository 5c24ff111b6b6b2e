"""What requests cost.

OSS's list price of the Standard class in the regions of mainland China: 0.01 CNY for 10,000 requests, those of the PUT
class and those of the GET class alike (OSS pricing page, "API operation calling fees"). Listing is of the PUT class,
GetObject and HeadObject are of the GET class (OSS help, "Request fees"). Free quotas and traffic are left out.
"""

PUT_CLASS_CNY = 0.01 / 10_000
GET_CLASS_CNY = 0.01 / 10_000


def of_requests(gets, heads, lists):
    """CNY."""
    return (gets + heads) * GET_CLASS_CNY + lists * PUT_CLASS_CNY
