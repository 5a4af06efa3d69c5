"""The command line: what it prints where, what it leaves on disk, and how it fails."""

import errno
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

from sparsenum import _device, doctor, ot
from sparsenum.cli import main

N, M = 12, 15
REG = 0.05


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a cost and masses, as the current one."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "cost.npy", rng.random((N, M)))
    for name, size in (("a", N), ("b", M)):
        mass = rng.random(size)
        np.save(tmp_path / f"{name}.npy", mass / mass.sum())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def strict_json(text):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def fails(capsys, *argv):
    """Run a command that must fail, and return the only line it writes."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sparsenum: error: ")
    assert err.count("\n") == 1
    return err


def test_solve_shows_a_table(folder, capsys):
    assert main(["solve", "cost.npy", "--reg", str(REG)]) == 0
    out, err = capsys.readouterr()
    facts = dict(line.split("  ", 1) for line in out.splitlines())
    assert facts["shape"].strip() == f"{N} x {M}"
    assert facts["status"].strip() == "converged"
    assert "linear value" in facts
    assert "solve: " in err  # progress, after a word on compiling where nothing is compiled yet


def test_solve_as_json_is_one_object_and_right(folder, capsys):
    argv = ["solve", "cost.npy", "--reg", str(REG), "--a", "a.npy", "--b", "b.npy", "--json"]
    assert main(argv) == 0
    shown = strict_json(capsys.readouterr().out)
    expected = ot.solve(np.load("cost.npy"), np.load("a.npy"), np.load("b.npy"), REG)
    assert shown["shape"] == [N, M]
    assert shown["value"] == pytest.approx(expected.value)
    assert shown["linear_value"] == pytest.approx(expected.value_linear)
    assert shown["marginal_error"] <= shown["tolerance"] == 1e-9
    assert shown["iterations"] == expected.n_iter


def test_solve_by_sinkhorn(folder, capsys):
    argv = ["solve", "cost.npy", "--reg", str(REG), "--method", "sinkhorn", "--tol", "1e-6"]
    assert main([*argv, "--json"]) == 0
    shown = strict_json(capsys.readouterr().out)
    assert (shown["method"], shown["tolerance"]) == ("sinkhorn", 1e-6)


def test_out_holds_the_plan(folder, capsys):
    assert main(["solve", "cost.npy", "--reg", str(REG), "--a", "a.npy", "--out", "plan.npz"]) == 0
    plan = scipy.sparse.load_npz("plan.npz")
    assert plan.shape == (N, M)
    np.testing.assert_allclose(plan.sum(axis=1), np.load("a.npy"), rtol=0, atol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=0), np.full(M, 1 / M), rtol=0, atol=1e-9)
    assert sorted(os.listdir()) == ["a.npy", "b.npy", "cost.npy", "plan.npz"]


def test_an_unconverged_plan_is_written_and_said_to_be_one(folder, capsys):
    argv = ["solve", "cost.npy", "--reg", "0.001", "--max-iter", "2", "--json", "--out", "p.npz"]
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert strict_json(out)["status"] == "max_iter"
    assert scipy.sparse.load_npz("p.npz").shape == (N, M)
    warning = err.splitlines()[-1]
    assert warning.startswith("sparsenum: warning: Transport did not converge")
    assert "ConvergenceWarning" not in err


def test_inputs_are_not_written_to(folder, capsys):
    before = (folder / "cost.npy").read_bytes()
    main(["solve", "cost.npy", "--reg", str(REG)])
    assert (folder / "cost.npy").read_bytes() == before


def test_a_number_that_does_not_exist_is_null_in_json(folder, capsys, monkeypatch):
    monkeypatch.setattr(ot.Solution, "value_linear", float("nan"))
    assert main(["solve", "cost.npy", "--reg", str(REG), "--json"]) == 0
    assert strict_json(capsys.readouterr().out)["linear_value"] is None


@pytest.mark.parametrize("content", [b"", b"no array", b"PK\x03\x04 no archive", b"\x93NUMPY\x01"])
def test_a_file_that_is_no_array(folder, capsys, content):
    (folder / "cost.npy").write_bytes(content)
    assert "numpy.save" in fails(capsys, "solve", "cost.npy", "--reg", "1")


def test_a_truncated_array(folder, capsys):
    whole = (folder / "cost.npy").read_bytes()
    (folder / "cost.npy").write_bytes(whole[:-8])
    assert "cut short" in fails(capsys, "solve", "cost.npy", "--reg", "1")


def test_pickles_are_not_opened(folder, capsys):
    np.save("objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    assert "Python objects" in fails(capsys, "solve", "objects.npy", "--reg", "1")


def test_an_archive_is_no_array(folder, capsys):
    np.savez("cost.npz", cost=np.eye(3))
    assert "another kind" in fails(capsys, "solve", "cost.npz", "--reg", "1")


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.ones(3), "2 dimensions"),
        (np.array([[np.nan]]), "NaN"),
        (np.array([["x"]]), "real numbers"),
        (np.array([[1j]]), "real numbers"),
    ],
)
def test_a_cost_that_is_none(folder, capsys, array, word):
    np.save("cost.npy", array)
    assert word in fails(capsys, "solve", "cost.npy", "--reg", "1")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["none.npy", "--reg", "1"], ["COST.npy", "none.npy"]),
        (["cost.npy", "--reg", "1", "--a", "none.npy"], ["--a", "none.npy"]),
        (["cost.npy", "--reg", "1", "--a", "b.npy"], ["a must have", str(N), str(M)]),
        (["cost.npy", "--reg", "-1"], ["reg must be positive"]),
        (["cost.npy", "--reg", "nan"], ["reg must be positive"]),
        (["cost.npy", "--reg", "1", "--tol", "0"], ["tol must be positive"]),
        (["cost.npy", "--reg", "1", "--max-iter", "-1"], ["max_iter"]),
        (["cost.npy", "--reg", "1", "--out", "none/p.npz"], ["--out", "none/p.npz"]),
        (["cost.npy", "--reg", "1", "--out", "."], ["--out"]),
        ([".", "--reg", "1"], ["directory"]),
    ],
)
def test_bad_arguments_are_one_clear_line(folder, capsys, argv, words):
    message = fails(capsys, "solve", *argv)
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    "argv", [[], ["solve"], ["solve", "c.npy"], ["solve", "c.npy", "--reg", "much"], ["dance"]]
)
def test_usage_errors(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ")


@pytest.mark.parametrize(
    ("error", "word"),
    [(MemoryError("plan of shape (9, 9)"), "plan of shape"), (MemoryError(), "MemoryError")],
)
def test_lack_of_memory(folder, capsys, monkeypatch, error, word):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(ot, "solve", fail)
    assert word in fails(capsys, "solve", "cost.npy", "--reg", "1")


def test_a_failed_write_leaves_the_old_plan(folder, capsys, monkeypatch):
    (folder / "plan.npz").write_bytes(b"the old plan")

    def fail(file, plan):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scipy.sparse, "save_npz", fail)
    assert main(["solve", "cost.npy", "--reg", str(REG), "--out", "plan.npz"]) == 2
    assert "--out must be on a disk with space left: got a full one" in capsys.readouterr().err
    assert (folder / "plan.npz").read_bytes() == b"the old plan"
    assert sorted(os.listdir()) == ["a.npy", "b.npy", "cost.npy", "plan.npz"]


def test_interruption(folder, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ot, "solve", interrupt)
    assert main(["solve", "cost.npy", "--reg", "1", "--out", "plan.npz"]) == 130
    out, err = capsys.readouterr()
    assert (out, err) == ("", "sparsenum: interrupted\n")
    assert sorted(os.listdir()) == ["a.npy", "b.npy", "cost.npy"]


COMMAND = (sys.executable, "-m", "sparsenum.cli")


def test_as_a_process_json_is_alone_on_stdout(folder):
    argv = ("solve", "cost.npy", "--reg", "0.001", "--max-iter", "2", "--json")
    process = subprocess.run([*COMMAND, *argv], capture_output=True, text=True, timeout=120)
    assert process.returncode == 1
    assert process.stdout.count("\n") == 1
    assert strict_json(process.stdout)["iterations"] == 2
    assert "Traceback" not in process.stderr


def test_control_c_on_a_terminal_ends_a_solve_cleanly(folder):
    argv = ("solve", "cost.npy", "--reg", "1e-6", "--method", "sinkhorn", "--tol", "1e-300")
    terminal, stderr = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, *argv, "--max-iter", "1000000000"], stdout=subprocess.PIPE, stderr=stderr
    )
    try:
        said = os.read(terminal, 1000)  # the first line of progress: the solve is on its way
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        said += os.read(terminal, 10_000)
    finally:
        process.kill()
        os.close(terminal)
        os.close(stderr)
    assert (process.returncode, out) == (130, b"")
    assert b"\rsolve: " in said
    assert said.endswith(b"sparsenum: interrupted\r\n")


def test_a_reader_that_leaves_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [*COMMAND, "doctor"],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=120,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (0, b"")


def test_help_names_both_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "solve" in out
    assert "doctor" in out


def test_doctor_knows_this_machine(capsys):
    assert main(["doctor", "--json"]) == 0
    facts = strict_json(capsys.readouterr().out)
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["numpy"] == np.__version__
    assert facts["cpu"]
    assert 1 <= facts["cpu_usable"] <= facts["cpu_count"]
    assert "workqueue" in facts["threading_layers"]
    assert main(["doctor"]) == 0
    assert "threading layers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("package", "driver", "devices", "word"),
    [
        (None, None, [], "no NVIDIA driver found"),
        (None, "13.0", ["a GPU"], 'pip install "sparsenum[cuda13]"'),
        (None, "12.4", ["a GPU"], 'pip install "sparsenum[cuda12]"'),
        ("0.30", "13.0", [], "CUDA_VISIBLE_DEVICES"),
        ("0.30", "13.0", ["a GPU"], "ready"),
    ],
)
def test_doctor_says_what_cuda_lacks(monkeypatch, package, driver, devices, word):
    monkeypatch.setattr(_device, "facts", lambda: _device.Facts(package, driver, devices))
    assert word in doctor.report()["cuda"]


def test_doctor_without_the_cache():
    process = subprocess.run(
        [*COMMAND, "doctor", "--json"],
        env={**os.environ, "SPARSENUM_CACHE": "0"},
        capture_output=True,
        timeout=120,
    )
    facts = strict_json(process.stdout)
    assert (facts["cache"], facts["cache_folder"], facts["cache_writable"]) == (False, None, False)


def test_points_text_and_pipes_are_solved_as_their_costs(folder, capsys, monkeypatch):
    rng = np.random.default_rng(1)
    X, Y = rng.random((9, 2)), rng.random((7, 2))
    cost = ((X[:, None] - Y) ** 2).sum(-1)
    np.save("x.npy", X)
    np.savetxt("y.csv", Y, delimiter=",")
    np.savetxt("cost.csv", cost, delimiter=",")

    class Piped:
        buffer = io.BytesIO((folder / "cost.csv").read_bytes())

    monkeypatch.setattr(sys, "stdin", Piped)
    ways = (["--points", "x.npy", "y.csv"], ["--points", "x.npy", "y.csv", "--lazy"], ["cost.csv"])
    expected = ot.solve(cost, reg=0.1).value
    for way in (*ways, ["-"]):
        assert main(["solve", *way, "--reg", "0.1", "--threads", "1", "--json"]) == 0
        value = strict_json(capsys.readouterr().out)["value"]
        np.testing.assert_allclose(value, expected, rtol=1e-7)
    argv = ["solve", "cost.csv", "--reg", "0.1", "--unbalanced", "1", "--time-limit", "60"]
    assert main([*argv, "--json"]) == 0
    value = strict_json(capsys.readouterr().out)["value"]
    np.testing.assert_allclose(value, ot.solve(cost, reg=0.1, unbalanced=1.0).value, rtol=1e-7)
    assert "one of COST.npy and --points" in fails(capsys, "solve", "--reg", "1")
    assert "--lazy must go with --points" in fails(
        capsys, "solve", "cost.csv", "--reg", "1", "--lazy"
    )
    (folder / "bad.csv").write_text("x,y\n1,2\n")
    assert "no header" in fails(capsys, "solve", "bad.csv", "--reg", "1")
