import subprocess
import sys

import pytest

from sensors.errors import InputError, exit_on_input_error


def test_an_input_error_becomes_exit_code_2_and_one_message_on_standard_error(capsys):
    @exit_on_input_error
    def command():
        raise InputError("no [band] B05")

    with pytest.raises(SystemExit) as exit_info:
        command()
    assert exit_info.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: no [band] B05\n"


def test_other_errors_and_success_pass_through():
    calls = []

    @exit_on_input_error
    def command():
        calls.append(1)

    command()
    assert calls == [1]

    @exit_on_input_error
    def broken():
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        broken()


def test_sensors_imports_neither_torch_nor_rasterio():
    code = "import sys, sensors; sys.exit(bool({'torch', 'rasterio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
