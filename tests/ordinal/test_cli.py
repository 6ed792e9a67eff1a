"""What people type, and what they are told."""

import json
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from ordinal import cli
from ordinal.run_folder import Run
from tests.ordinal.conftest import quick_config


def ordinal(*words: str) -> int:
    """Run the command line in this process; returns its exit code."""
    argv, sys.argv = sys.argv, ["ordinal", *map(str, words)]
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = argv
    return 0


def cpu_seconds(*code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_and_import_load_nothing_heavy() -> None:
    look = "import sys; assert not {'torch', 'pandas', 'datasets', 'wandb'} & set(sys.modules)"
    assert cpu_seconds("-c", f"import ordinal; {look}") < 0.5
    helps = f"""
import sys
sys.argv = ['ordinal', '--help']
from ordinal.cli import main
try:
    main()
except SystemExit:
    pass
{look}
"""
    assert cpu_seconds("-c", helps) < 0.5


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself_with_an_example(verb: str, capsys) -> None:
    assert ordinal(verb, "--help") == 0
    assert f"ordinal {verb}" in capsys.readouterr().out.split("Example:")[1]


def one_line(capsys) -> str:
    """What was said on stderr, which must be one line without a traceback."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def config_file(folder: Path, **changes) -> Path:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(quick_config(Path("counting")) | changes))
    return path


def test_a_misspelt_key(tmp_path: Path, capsys) -> None:
    path = config_file(tmp_path, sae={"latent": 8})
    assert ordinal("run", path, "--runs", tmp_path / "runs") == 2
    said = one_line(capsys)
    assert "`sae.latent` is not a setting" in said
    assert "Did you mean `latents`?" in said
    assert not (tmp_path / "runs").exists()


def test_a_value_of_the_wrong_kind(tmp_path: Path, capsys) -> None:
    assert ordinal("run", config_file(tmp_path, seed="x"), "--runs", tmp_path / "runs") == 2
    assert "`seed` is 'x'" in one_line(capsys)


def test_no_such_config(capsys) -> None:
    assert ordinal("run", "nothing") == 2
    assert "counting" in one_line(capsys)


def test_an_unknown_verb_is_a_usage_error(capsys) -> None:
    assert ordinal("verfy") == 2


def test_a_folder_without_safetensors(tmp_path: Path, capsys) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert ordinal("heads", tmp_path) == 1
    assert str(tmp_path) in one_line(capsys)


def test_truncated_weights_leave_no_run_half_written(planted, tmp_path: Path, capsys) -> None:
    source, _ = planted
    broken = tmp_path / "model"
    broken.mkdir()
    for file in source.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    path = config_file(tmp_path, model=str(broken))
    assert ordinal("run", path, "--runs", tmp_path / "runs") == 1
    assert "model.safetensors" in one_line(capsys)
    assert [p.name for p in (tmp_path / "runs" / "c").iterdir()] == ["config.yaml"]


def test_a_tokenizer_without_numbers_or_words(planted, tmp_path: Path, capsys) -> None:
    source, _ = planted
    folder = tmp_path / "model"
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {
        word if word.startswith("<") else f"x{number}": number
        for word, number in vocabulary.items()
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert ordinal("heads", folder) == 1
    assert "single token" in one_line(capsys)


def test_half_a_run_folder(finished: Run, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "config.yaml").write_text((finished.folder / "config.yaml").read_text())
    assert ordinal("verify", folder) == 1
    assert "ordinal heads" in one_line(capsys)


def test_heads_as_json(planted, capsys) -> None:
    folder, truth = planted
    assert ordinal("heads", folder, "--numbers", "1", "199", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["heads"]
    assert (rows[0]["layer"], rows[0]["head"]) == (truth.layer, truth.head)
    assert {"score", "score_low", "score_high", "n_tokens"} <= set(rows[0])
    assert len(rows) == 8


def test_the_best_heads_as_a_table(planted, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder, truth = planted
    assert ordinal("heads", folder, "--top", "3") == 0
    out = capsys.readouterr().out
    assert f"Best on half of the elements: L{truth.layer}H{truth.head}" in out
    lines = [line.split() for line in out.splitlines()]
    rows = [words for words in lines if words and words[0].isdigit()]
    assert len(rows) == 3
    assert rows[0][:2] == [str(truth.layer), str(truth.head)]


def test_the_labelled_features_as_a_table(finished: Run, capsys) -> None:
    assert ordinal("features", finished.folder, "--label", "mod10", "--sort", "r2", "--top", 5) == 0
    out, err = capsys.readouterr()
    labels = [words[0] for line in out.splitlines() if (words := line.split()) and "/" in words[0]]
    table = finished.catalog.features
    residues = table[table["label"].str.startswith("mod10")]
    assert f"{len(residues)} of {len(table)} latents have a label mod10" in out
    assert labels == residues.sort_values("r2", ascending=False)["label"].head(5).tolist()
    assert "features  " not in err  # a finished step is not done again to look at it


def test_a_whole_label_has_its_card_above_the_table(finished: Run, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert ordinal("features", finished.folder, "--label", "mod10/3") == 0
    out = capsys.readouterr().out
    mine = finished.catalog["mod10/3"]
    assert out.startswith("mod10/3: fires on numbers whose last digit is 3")
    assert f"({mine.members} of 5 members, {len(mine.latents)} latents)" in out
    assert f"{len(mine.latents)} of {len(finished.catalog.features)} latents have a label" in out
    assert max(len(line) for line in out.splitlines() if "Next:" not in line) <= 80


def test_a_whole_label_is_not_the_start_of_another(finished: Run, tmp_path, capsys) -> None:
    copy = shutil.copytree(finished.folder, tmp_path / "run")
    names = {"mod10/3": "mod20/1", "mod10/4": "mod20/13"}
    catalog = finished.catalog
    relabelled = catalog.features.assign(label=catalog.features["label"].replace(names))
    replace(catalog, features=relabelled).save(copy)
    assert ordinal("features", copy, "--label", "mod20/1") == 0
    out = capsys.readouterr().out
    assert "mod20/1: fires on numbers that leave 1 when divided by 20" in out
    assert "mod20/13" not in out
    assert ordinal("features", copy, "--label", "mod20") == 0
    out = capsys.readouterr().out
    assert "mod20/13" in out
    assert "fires on" not in out


@pytest.mark.parametrize("option", [("--label", "mod11"), ("--sort", "colour")])
def test_what_the_catalog_has_not_is_named(finished: Run, option, capsys) -> None:
    assert ordinal("features", finished.folder, *option) == 2
    assert option[1] in capsys.readouterr().err


def test_tables_fit_80_columns(finished: Run, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert ordinal("run", finished.folder) == 0
    out, err = capsys.readouterr()
    assert "finished; nothing was computed again" in err
    lines = [line for line in out.splitlines() if str(finished.folder) not in line]
    assert max(map(len, lines)) <= 80
    assert len(out.splitlines()) <= 45
    assert "report.html" in out


def test_features_of_a_file_of_ones_own(finished: Run, tmp_path: Path, capsys) -> None:
    """A foreign activation file, trained on and labelled."""
    activations = finished.activations
    numbers = activations.tokens.table[activations.tokens.table["task"] == "numbers"]
    rows = json.loads(numbers[["text", "token_id", "task", "index"]].to_json(orient="records"))
    file = tmp_path / "mine.safetensors"
    x = activations.x[torch.tensor(numbers.index.to_numpy())][:, :32].contiguous()
    save_file({"activations": x}, file, {"tokens": json.dumps(rows)})
    assert ordinal("features", "--activations", file, "--runs", tmp_path / "runs", "--json") == 0
    labelled = json.loads(capsys.readouterr().out)["features"]
    assert {"member", "index", "label", "modulus", "residue", "q_value"} <= set(labelled[0])
    assert (tmp_path / "runs" / "mine" / "saes" / "000" / "cfg.json").exists()


def test_a_folder_that_would_be_imported_for_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "__init__.py").touch()
    command = [sys.executable, "-c", "import ordinal"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "rename that folder" in done.stderr
    assert str(tmp_path / "features") in done.stderr


def test_every_public_name_is_there_after_the_command_line_was_used(finished: Run) -> None:
    import ordinal as package

    for name in package.__all__:
        assert callable(getattr(package, name)), name
