"""How the command line is used: its help is whole, and wrong usage is told."""

import re

import pytest

from recsys.cli import main

OPTIONS = {
    "train": "--user --item --weight --min-weight --time --time-format --separator --decimal-comma "
    "--duplicates --bad-rows --min-user --min-item --model --budget --values --trials --plan --dim "
    "--epochs --learning-rate --weight-decay --seed --valid --validation --patience --device "
    "--checkpoint --resume --out --json TABLE auto sparse-ae dsl-mf static-mf dsl-lightgcn "
    "sparse-als dense-mf itemknn userknn rp3beta ease sansa popularity",
    "evaluate": "--user --item --k --valid --separator --decimal-comma --device --json MODEL.npz "
    "TABLE",
    "recommend": "--users --k --include-seen --allow --deny --unknown --histories --user --item "
    "--separator --decimal-comma --memory-limit --device --out MODEL.npz .parquet CSV all error "
    "skip popular fold_in cpu cuda",
    "similar": "--k --json MODEL.npz ITEM",
    "explain": "--json MODEL.npz USER ITEM",
    "inspect": "--json MODEL.npz",
    "warmup": "",
}


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--help"])
    assert left.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", OPTIONS)
def test_help_mentions_every_option(capsys, command):
    shown = help_of(capsys, command)
    assert [option for option in OPTIONS[command].split() if option not in shown] == []
    # And the list above is whole.
    assert set(re.findall("--[a-z-]+", shown)) <= {*OPTIONS[command].split(), "--help"}
    assert command in help_of(capsys)


@pytest.mark.parametrize("argv", [[], ["fly"], ["train"], ["train", "t.csv", "--dim", "x"]])
def test_wrong_usage_exits_with_2(capsys, argv):
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: recsys" in err
    assert "error:" in err
