"""The files for GitHub are valid, and say what the project says elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import threadloom

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [file for file in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if file.name != "config.yml"]
CITATION = [ROOT / "CITATION.cff"]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.citation-file-format", CITATION),
    ],
    ids=["workflows", "issue forms", "citation"],
)
def test_the_files_are_valid(schema, files):
    command = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", schema, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_of_the_workflows_exist():
    makefile = (ROOT / "Makefile").read_text()
    for workflow in WORKFLOWS:
        for job in yaml.safe_load(workflow.read_text())["jobs"].values():
            for command in (step["run"] for step in job["steps"] if "run" in step):
                if command.startswith("make "):
                    assert f"\n{command.removeprefix('make ')}:" in makefile, (workflow.name, command)


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == threadloom.__version__
    assert citation["license"] == "MIT"
