import sys

import pytest

from evaluation.cli import main


@pytest.fixture
def call(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["evaluate-encoder", *map(str, arguments)])
        main()

    return run


def test_configuration_is_shown(call, capsys):
    call("encoders=[a]", "data_sets=[eurosat_ms]", "--cfg", "job")
    assert "protocols:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encoders=[a]"], "data_sets"),
        (["encoders=[a]", "data_sets=[eurosat_ms]", "root=/nowhere"], "/nowhere"),
        (["report", "seeds=[0]"], "report takes out=FOLDER alone"),
        (["report", "out=/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_ends_with_2(call, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        call(*arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
