"""Table 5 in the report: the rows of the study with the paper's figures, and the split in words."""

from __future__ import annotations

from comface.artifacts.manifest import Draft
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.step import evaluate
from comface.store import FileStore

ROWS = [f"patient-specific:{days}-day" for days in (0, 1, 2, 3)]


def test_table_5_has_the_patient_specific_rows_with_the_papers_figures_and_names_its_split(results, tmp_path) -> None:
    store = FileStore(tmp_path / "store")
    made = results(["edema-a-patients"], [*ROWS, "comface"], ["finetune"], direction=True)
    again = []
    for each in made:
        draft = Draft(store, "transfer", each.manifest.config, each.inputs(), {"test": 2})
        draft.write("predictions.json", each.read("predictions.json"))
        again.append(draft.publish(each.facts | {"own_split": True, "training_subjects": 23}))
    evaluation = evaluate(store, EvaluateConfig(bootstrap=50), again)
    html = evaluation.read("report.html").decode()
    assert "Corresponds to the paper's table 5" in html
    assert "23 train and 12 are tested (the paper: 24 and 15)" in html
    rows = {(r["source"], r["method"]): r for r in evaluation.read_json("table-patients.json")}
    assert rows["paper", "Patient-specific (3-day)"]["edema_a_patients_finetune_mae"] == 1.245
    assert rows["paper", "ComFace"]["edema_a_patients_finetune_corr"] == 0.72
    assert ("this run", "Patient-specific (0-day)") in rows
    assert ("paper", "Patient-specific (0-day)") not in rows
