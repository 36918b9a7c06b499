"""What is said of a module that is not there: the command that installs it, for the folder that asks for it."""

import pytest

from threadloom.graphs.missing_modules import install_hint

CASES = {
    "src layout": (
        ["pyproject.toml", "src/tools/__init__.py"],
        "tools",
        "It is in src. Install that project: pip install -e .",
    ),
    "src layout without a project": (
        ["src/tools.py"],
        "tools.deep",
        'It is in src. Add "./src" to `dependencies` in the configuration.',
    ),
    "nothing known": (["agent.py"], "some_tools", "pip install some-tools."),
    "a project that says nothing of it": (
        ["setup.py"],
        "tools",
        "pip install tools. If it comes with the app: pip install -e .",
    ),
    "a part of what is installed": (["agent.py"], "json.gone", "pip install --upgrade json"),
}


@pytest.mark.parametrize(("files", "module", "said"), CASES.values(), ids=CASES)
def test_the_cure_fits_what_the_folder_holds(tmp_path, monkeypatch, files, module, said):
    monkeypatch.chdir(tmp_path)
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert said in install_hint(module, [tmp_path])


@pytest.mark.parametrize("requirement", ["langchain-openai>=0.3", '"LangChain_OpenAI"', "langchain.openai[all]"])
def test_what_the_app_asks_for_is_installed_as_the_app_says(tmp_path, monkeypatch, requirement):
    monkeypatch.chdir(tmp_path.parent)
    (tmp_path / "requirements.txt").write_text(f"# tools\n{requirement}\n")
    assert install_hint("langchain_openai", [tmp_path]).endswith(f"pip install -r {tmp_path.name}/requirements.txt")
    (tmp_path / "pyproject.toml").write_text(f"dependencies = [{requirement}]")
    assert install_hint("langchain_openai.chat", [tmp_path]).endswith(f"Install that: pip install -e {tmp_path.name}")
    assert "pip install tools." in install_hint("tools", [tmp_path])
