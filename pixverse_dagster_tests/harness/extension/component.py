"""A program: a component of these attributes, read and materialised; prints what a person asks about it, as JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster.components.testing import create_defs_folder_sandbox

from pixverse_dagster import Clip, PixverseClipsComponent


def main(attributes: dict[str, Any], table: str, home: str, row: str) -> None:
    """Write the project, read its table, generate one row, and load its clip."""
    component = {"type": "pixverse_dagster.PixverseClipsComponent", "attributes": attributes}
    with create_defs_folder_sandbox() as project:
        folder = project.scaffold_component(PixverseClipsComponent, defs_path="films")
        (folder / "defs.yaml").write_text(yaml.safe_dump(component))
        (folder / "rows.csv").write_text(Path(table).read_text())
        with project.build_all_defs() as definitions, dg.DagsterInstance.from_config(home) as instance:

            @dg.asset(ins={"clip": dg.AssetIn(["films", "clips"])}, partitions_def=partitions_of(definitions))
            def checked(clip: Clip) -> dg.MaterializeResult[Any]:
                return dg.MaterializeResult(metadata={"bytes": len(clip.open().read()), "where": clip.uri()})

            whole = dg.Definitions.merge(definitions, dg.Definitions(assets=[checked]))
            run(whole, instance, dg.AssetKey(["films", "prompts"]))
            run(whole, instance, dg.AssetKey(["films", "clips"]), row)
            loaded = run(whole, instance, dg.AssetKey(["checked"]), row)
            found = instance.fetch_materializations(dg.AssetKey(["films", "clips"]), limit=1).records[0]
            shown = found.asset_materialization
            print(  # noqa: T201 - a program
                json.dumps(
                    {
                        "cost_usd": shown.metadata["pixverse/cost_usd"].value if shown else None,
                        "uri": shown.metadata["dagster/uri"].value if shown else None,
                        "loaded_bytes": loaded.asset_materializations_for_node("checked")[0].metadata["bytes"].value,
                    }
                )
            )


def partitions_of(definitions: dg.Definitions) -> Any:
    """One partition per row."""
    return next(spec.partitions_def for spec in definitions.resolve_all_asset_specs() if spec.partitions_def)


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, key: dg.AssetKey, row: str | None = None) -> Any:
    """Materialise one asset."""
    job = definitions.resolve_implicit_global_asset_job_def()
    ended = job.execute_in_process(instance=instance, asset_selection=[key], partition_key=row)
    assert ended.success
    return ended


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), *sys.argv[2:])
