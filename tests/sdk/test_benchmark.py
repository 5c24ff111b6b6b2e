"""The benchmark's tables: what the figures become, and that no goal names what nobody measures."""

import pathlib
import sys
import xml.etree.ElementTree

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts/bench"))

import chart  # noqa: E402
import data  # noqa: E402
import goals  # noqa: E402
import table  # noqa: E402
import tasks  # noqa: E402
import workloads  # noqa: E402

SCALE = tasks.SCALES["quick"]
GIB = 1 << 30


def sample(seconds=2.0, size=GIB, operations=100, **more):
    parts = ("user", "system", "daemon_user", "daemon_system", "server_user", "server_system")
    made = {f"{part}_seconds": 0.25 for part in parts}
    made |= {"bytes": size, "operations": operations, "seconds": seconds, "foreign_cpu_seconds": 1.0}
    made |= {"latency_median_seconds": 0.02, "gets": 128, "heads": 1, "lists": 2, "others": 0, "fetched": size}
    made |= {"puts": 0, "parts": 0, "copies": 0, "deletes": 0, "sent": size}
    return made | {"daemon_rss_bytes": 64 << 20} | more


def every_row():
    rows = [
        table.row(workload, subject, [sample(), sample(3.0), sample(4.0)], SCALE)
        for workload in workloads.WORKLOADS
        for subject in workload.subjects
    ]
    table.relate(rows)
    return rows


def test_every_goal_is_of_figures_that_are_measured():
    judged = table.judge(every_row(), workloads.WORKLOADS)
    # How fast a directory is renamed (W5) has no goal.
    reading, writing = range(1, 11), range(1, 5)
    assert {goal["workload"] for goal in judged} == {f"R{n}" for n in reading} | {f"W{n}" for n in writing}
    assert [goal for goal in judged if goal["met"] is None] == []


def test_a_workload_is_named_once_and_by_subjects_that_there_are():
    names = [(workload.id, workload.link, workload.task.name) for workload in workloads.WORKLOADS]
    assert len(names) == len(set(names))
    for workload in workloads.WORKLOADS:
        assert set(workload.subjects) <= set(workloads.SUBJECTS)


def test_a_row_is_medians_and_a_spread():
    row = table.row(workloads.WORKLOADS[0], "mount", [sample(2.0), sample(4.0), sample(1.0)], SCALE)
    assert row["rate"] == pytest.approx(GIB / 2.0 / 1e9)
    assert (row["rate_min"], row["rate_max"]) == pytest.approx((GIB / 4e9, GIB / 1e9))
    assert row["client_cpu"] == pytest.approx(1.0)
    assert row["fetched_per_asked"] == pytest.approx(1.0)
    # 129 requests of the GET class and 2 of the PUT class for one GiB.
    assert row["cost_cny"] == pytest.approx(131e-6)
    assert row["cost_text"] == "0.13/TiB"


def test_a_goal_is_met_at_its_bound_and_not_measured_without_its_other_half():
    task = "1 thread"
    rows = {(task, "mount"): {"rate": 65.0}, (task, "raw"): {"rate": 100.0}}
    goal = goals.times("mount", "raw", 0.65)
    assert goal.judge(goals.Rows(rows, task)) == (0.65, True)
    rows[(task, "mount")]["rate"] = 64.0
    assert goal.judge(goals.Rows(rows, task)) == (0.64, False)
    del rows[(task, "raw")]
    assert goal.judge(goals.Rows(rows, task)) == (None, None)


def test_the_memory_goal_is_of_the_greediest_mount():
    rows = every_row()
    assert table.judge_memory(rows, 0)["met"]
    rows[0]["subject"], rows[0]["daemon_rss_bytes"] = "mount", 97 << 20
    judged = table.judge_memory(rows, 0)
    assert (judged["met"], judged["result"]) == (False, 97.0)
    assert table.judge_memory([], 0)["met"] is None


def test_the_text_has_every_workload_goal_and_reason():
    shown = workloads.WORKLOADS[:2]
    rows = [row for row in every_row() if row["workload"] in ("R1", "R2")]
    judged = table.judge(rows, shown)
    text = table.text(rows, judged, shown, {shown[0]: {"local": "no disk"}})
    assert "R1  cold sequential" in text and "R2  cold sequential" in text
    assert "≥ 0.65 × raw" in text and "local: no disk" in text
    assert f"{sum(goal['met'] for goal in judged)} met" in text


def test_the_goals_take_the_place_of_those_in_readme_and_nothing_else():
    readme = pathlib.Path(__file__).parents[2].joinpath("README.md").read_text()
    judged = table.judge(every_row(), workloads.WORKLOADS)
    written = table.with_goals(readme, judged)
    assert table.markdown(judged) in written
    assert written.count("| R1 |") == sum(goal["workload"] == "R1" for goal in judged)
    assert table.with_goals(written, judged) == written
    assert written.split(table.GOALS_BEGIN)[0] == readme.split(table.GOALS_BEGIN)[0]
    assert written.split(table.GOALS_END)[1] == readme.split(table.GOALS_END)[1]


def test_the_chart_is_well_formed_and_needs_no_row():
    for rows in (every_row(), []):
        root = xml.etree.ElementTree.fromstring(chart.svg(rows))
        assert root.tag.endswith("svg")
    assert "osstorchconnector" in chart.svg(every_row())


def test_only_the_objects_that_are_read_are_made():
    def sizes(ids):
        wanted = [workload.task for workload in workloads.WORKLOADS if workload.id in ids]
        return {key: size for key, (size, _) in data.objects(SCALE, b"header", wanted)}

    assert sizes(["R1"]) == {"big.bin": SCALE.big}
    assert sizes(["R4"]) == {"shard-0.bin": SCALE.shard}
    assert set(sizes(["R9"])) == {"model.safetensors", "hot.bin"}
    assert len(sizes(["R6", "R7"])) == SCALE.files
    wanted = [tasks.Mapped("in order", "file")]
    ((key, (size, pieces)),) = data.objects(tasks.SCALES["quick"], b"header", wanted)
    assert (key, sum(len(piece) for piece in pieces)) == ("model.safetensors", size)


def test_the_model_is_a_safetensors_file_of_its_size():
    header = data.safetensors_header(SCALE.model)
    length = int.from_bytes(header[:8], "little")
    assert len(header) == 8 + length
    entries = data.json.loads(header[8:])
    ends = [entry["data_offsets"][1] for entry in entries.values()]
    starts = [entry["data_offsets"][0] for entry in entries.values()]
    assert len(entries) == data.TENSORS
    assert starts == [0, *ends[:-1]]
    assert 0 <= SCALE.model - len(header) - ends[-1] < SCALE.model // 100
