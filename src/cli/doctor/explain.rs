//! Errors that are known, of the platform, of OSS and of a mount: what they mean, and what mends them.
//!
//! Those of the platform come before a job runs, so nothing of ours can meet them; whoever sees one has only its text. The policies are
//! those of the PAI documentation, "Associate a RAM role with DLC jobs", FAQ.

/// An error that is known.
#[derive(Debug)]
pub(super) struct Known {
    /// Texts that it is known by.
    signs: &'static [&'static str],
    means: &'static str,
    /// What to do; the last of it may be a policy.
    remedy: &'static str,
}

/// All errors that a text names, each once.
pub(super) fn known(text: &str) -> impl Iterator<Item = &'static Known> {
    let text = text.to_lowercase();
    let is_named = move |known: &&Known| {
        let mut signs = known.signs.iter();
        signs.any(|sign| text.contains(&sign.to_lowercase()))
    };
    KNOWN.iter().filter(is_named)
}

impl Known {
    /// What it means and what to do, as lines.
    pub(super) fn text(&self) -> String {
        format!("{}\n{}\n", self.means, self.remedy.trim_end())
    }
}

const KNOWN: [Known; 13] = [
    Known {
        signs: &[
            "check permission for ram role failed",
            "check permission for sub user failed",
        ],
        means: "The job's role does not exist, or whoever creates the job may not pass it on.",
        remedy: r#"Look in the RAM console whether the role exists, and choose one that does. If it exists, the owner of the account attaches
this policy to the RAM user who creates the job, with the role's name for ${RoleName}:
{
  "Version": "1",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": "ram:PassRole",
      "Resource": "acs:ram::*:role/${RoleName}"
    }
  ]
}"#,
    },
    Known {
        signs: &["failed to assume role for user"],
        means: "The job's role does not trust PAI, so PAI cannot get credentials of it.",
        remedy: r#"In the RAM console, open the role, its trust policy, and add pai.aliyuncs.com to the services that may assume it:
{
  "Statement": [
    {
      "Action": "sts:AssumeRole",
      "Effect": "Allow",
      "Principal": {
        "Service": [
          "pai.aliyuncs.com"
        ]
      }
    }
  ],
  "Version": "1"
}
Keep the principals that are there already."#,
    },
    Known {
        signs: &["no credentials:"],
        means: "Nothing was injected into this job, and no source of credentials was named.",
        remedy: "Associate a role when the job is created: Roles and Permissions, Instance RAM Role, Default Roles of PAI or a custom one. The job then \
has\n/mnt/.alibabacloud/credentials and ALIBABA_CLOUD_CREDENTIALS_URI. If creating the job with the role fails, give its message to\n\
'rolefs doctor --explain MESSAGE'. Elsewhere, name a source by --credentials.",
    },
    Known {
        signs: &["PublicEndpointForbidden", "0048-00000401"],
        means: "OSS refuses data requests to this bucket by its public endpoint (accounts that are new since March 2025, regions of mainland China).",
        remedy: "Inside Alibaba Cloud, as a job on DLC is, pass the internal endpoint of the bucket's region, which costs no traffic either:\n\
--endpoint oss-REGION-internal.aliyuncs.com\nElsewhere, bind an own domain to the bucket and pass that.",
    },
    Known {
        signs: &["AccessDenied", "the role lacks", "the role may neither"],
        means: "A RAM policy of the role, or a policy of the bucket, does not allow it.",
        remedy: r#"Attach a policy like this one to the job's role, with the bucket's name for ${Bucket}; without the last three actions it is for reading
only. AliyunPAIDLCDefaultRole may use the default bucket of the workspace only.
{
  "Version": "1",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["oss:ListObjects", "oss:GetBucketInfo", "oss:ListMultipartUploads"],
      "Resource": "acs:oss:*:*:${Bucket}"
    },
    {
      "Effect": "Allow",
      "Action": ["oss:GetObject", "oss:PutObject", "oss:DeleteObject", "oss:AbortMultipartUpload"],
      "Resource": "acs:oss:*:*:${Bucket}/*"
    }
  ]
}"#,
    },
    Known {
        signs: &["RequestTimeTooSkewed", "clock is"],
        means: "The clock of this machine is wrong; OSS refuses requests whose time is more than 15 minutes off.",
        remedy: "Set it (chronyc makestep, or the host's clock: a container has no other). A mount corrects it for its own requests.",
    },
    Known {
        signs: &["SignatureDoesNotMatch", "signing region", "0002-00000226"],
        means: "The signature is not what OSS computes: another region, or a secret that does not belong to the key.",
        remedy: "Pass the bucket's region by --region, as in cn-hangzhou; with keys typed by hand, copy the secret again.",
    },
    Known {
        signs: &[
            "must be addressed using the specified endpoint",
            "is not at http",
        ],
        means: "The bucket is in another region than the endpoint.",
        remedy: "Pass the endpoint of the bucket's region by --endpoint; the OSS console shows it with the bucket.",
    },
    Known {
        signs: &[
            "InvalidAccessKeyId",
            "SecurityTokenExpired",
            "InvalidSecurityToken",
            "Key was rejected by service",
        ],
        means: "OSS does not know the credentials, or not any more.",
        remedy: "'rolefs status MOUNTPOINT' shows their source and when they end. A set that was copied into environment variables ends after an hour and\n\
nobody renews it: let the job's role be injected instead, and don't set ALIBABA_CLOUD_ACCESS_KEY_ID.",
    },
    Known {
        signs: &["Key has expired", "credentials are gone"],
        means: "The role's credentials have run out and no new ones came within --hold.",
        remedy: "Look at their source: the service of ALIBABA_CLOUD_CREDENTIALS_URI must answer, or /mnt/.alibabacloud/credentials be rewritten. The mount goes on\n\
by itself once there are new ones.",
    },
    Known {
        signs: &[
            "no right to mount",
            "no way to mount",
            "/dev/fuse is missing",
            "/dev/fuse cannot be opened",
        ],
        means: "This container may not mount FUSE file systems.",
        remedy: "Give it the device and the right: docker run --device /dev/fuse --cap-add SYS_ADMIN, or in a pod a device plugin for\n\
/dev/fuse and securityContext.capabilities.add: [SYS_ADMIN]. Or only a /dev/fuse that the user may read and write, where user\n\
namespaces are allowed, for 'rolefs run'; or the package fuse3 in the image.",
    },
    Known {
        signs: &["Transport endpoint is not connected"],
        means: "The process behind the mount has died; its mountpoint is left.",
        remedy: "rolefs umount --lazy MOUNTPOINT, then mount again. The log tells why it died; what was staged on disk is found by 'rolefs recover'.",
    },
    Known {
        signs: &["Stale file handle"],
        means: "The object was replaced or deleted by somebody else while the file was open.",
        remedy: "Open the file again. Write new data under new names where readers are still at work.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_s_errors_are_known_in_any_case_of_letters() {
        let policy = |text: &str| known(text).map(Known::text).collect::<String>();
        let pass = policy("Error: check permission for RAM role failed (RequestId 1)");
        assert!(pass.contains("ram:PassRole") && !pass.contains("sts:AssumeRole"));
        assert_eq!(pass, policy("check permission for sub user failed"));
        let trust = policy("Failed to assume role for user 123");
        assert!(trust.contains("sts:AssumeRole") && trust.contains("pai.aliyuncs.com"));
        let no_way =
            policy("rolefs: no way to mount: directly: EPERM; fusermount3: is not installed");
        assert!(
            no_way.contains("/dev/fuse that the user may read"),
            "{no_way}"
        );
        assert_eq!(policy("all is well"), "");
    }

    #[test]
    fn every_policy_is_json() {
        for known in &KNOWN {
            let Some(from) = known.remedy.find("{\n") else {
                continue;
            };
            let to = known.remedy.rfind('}').map_or(from, |at| at + 1);
            let policy: Result<serde_json::Value, _> =
                serde_json::from_str(&known.remedy[from..to]);
            assert!(
                policy.is_ok_and(|policy| policy["Version"] == "1"),
                "{}",
                known.remedy
            );
        }
    }
}
