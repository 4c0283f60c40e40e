"""The KFP component of evaluate."""

from kfp import dsl

from comface.execution.container_image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def evaluate(
    plan: str,
    linear: list,
    finetuned: list,
    backbones: list,
    report: dsl.Output[dsl.HTML],
    table: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Summarise all transfer results in tables, plots and one report. Returns the URI of the `evaluation` artifact."""
    from comface.evaluate.from_plan import evaluate_results

    uri, values = evaluate_results(plan, [*linear, *finetuned], backbones, report.path, table.path)
    for name, value in values.items():
        metrics.log_metric(name, value)
    return uri
