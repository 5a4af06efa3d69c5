"""House rules that a machine can check."""

import ast
import doctest
import hashlib
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import recsys
import sparsenum
from recsys import blend, data, datasets, evaluation, storage
from sparsenum import nn, ot, sparse, topology

ROOT = Path(__file__).parents[1]
PACKAGES = ("sparsenum", "recsys")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FORMULAS = ROOT / "sparsenum" / "_formulas.py"
KERNELS = [path for path in SOURCES if path.name.startswith("_cpu") or path == FORMULAS]
CUDA = [p for p in SOURCES if p.name.startswith("_cuda") and p.parent != ROOT / "sparsenum"]
DECORATORS = {"kernel", "formula", "part"}
EVERYTHING = sorted(
    path
    for folder in (*PACKAGES, "tests", "benches", "examples", "docs")
    for path in ROOT.glob(f"{folder}/**/*.py")
)


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def run(code, **environment):
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Imports


@pytest.mark.parametrize(
    ("package", "heavy"),
    [
        ("sparsenum", ["polars", "matplotlib", "ot", "scipy.optimize", "numba.cuda"]),
        ("recsys", ["matplotlib", "ot", "pandas", "pyarrow", "sklearn"]),
    ],
)
def test_import_stays_light(package, heavy):
    loaded = run(f"import sys, {package}; print(*sys.modules)").split()
    assert package in loaded
    assert not set(heavy) & set(loaded)


@pytest.mark.parametrize(
    "environment",
    [{"NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator"}, {"SPARSENUM_CACHE": "0"}],
    ids=["no folder for the cache", "cache off"],
)
def test_without_a_cache_the_kernels_still_run(environment):
    code = (
        "from sparsenum import ot, _numba\n"
        "from sparsenum.ot.problems import _cpu\n"
        "result = ot.solve([[0.0, 1.0], [1.0, 0.0]], reg=0.5)\n"
        "print(type(_cpu.row_update._cache).__name__, result.plan.sum())"
    )
    assert run(code, **environment).split() == ["NullCache", "1.0"]


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def arrows(sources):
    """Return which modules each module imports, at whatever time, and for its types too."""
    modules, found = {module_of(path): path for path in sources}, {}
    for module, path in modules.items():
        taken = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                taken |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                taken |= inner | {node.module} if inner - modules.keys() else inner
        found[module] = taken & modules.keys() - {module}
    return found


def on_circles(graph):
    """Return the nodes on a circle, or on a way from one to another."""
    left = set(graph)
    while True:
        pointed = set().union(*(graph[node] & left for node in left))
        kept = {node for node in left if node in pointed and graph[node] & left}
        if kept == left:
            return sorted(left)
        left = kept


def test_modules_import_in_no_circle():
    assert on_circles({"a": {"b", "d"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]
    graph = arrows(SOURCES)
    assert graph["sparsenum.sparse.cg"] >= {"sparsenum.sparse.on_cuda"}  # which it imports late
    assert on_circles(graph) == []


def test_folders_hold_a_dozen_files_or_so():
    counts = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    assert names(folder for folder, count in counts.items() if count > 14) == []


# Kernels

DIGESTS = {
    "exp_v1": "2965e7021f7a4af0",
    "step_v1": "1a03df8778c58a8e",
    "exp_or_zero_v1": "d4dc314c5bbbe177",
    "exp32_v1": "a6d3644b17a14cb7",
    "softplus_v1": "917eea01294e19bf",
    "hash_v1": "fa769a590716289a",
    "draw_v1": "22343b30f1425f20",
    "highest_v1": "7852f88c4e76c9b1",
    "contains_v1": "a377b180fb599849",
    "dot_v1": "d95c27f356435b9b",
    "add_v1": "11f872b65b7ceb6e",
    "column_update_v1": "e139514c6914697a",
    "solve_laplacian_v1": "94b029a366f8a861",
}


def functions(tree):
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def imported(tree):
    """Return the names that a module takes from our packages, and those from elsewhere."""
    ours, foreign = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            source = getattr(node, "module", None) or node.names[0].name
            mine = source.split(".")[0] in PACKAGES or getattr(node, "level", 0) > 0
            (ours if mine else foreign).update(a.asname or a.name for a in node.names)
    return ours, foreign


def versioned(tree):
    """Return the names that a module takes from the formulas, each of which carries a version."""
    taken = [n for n in ast.walk(tree) if getattr(n, "module", None) == "sparsenum._formulas"]
    found = {alias.asname or alias.name for node in taken for alias in node.names}
    assert all(re.search(r"_v\d+$", name) for name in found)
    return found


@pytest.mark.parametrize("path", KERNELS + CUDA, ids=names(KERNELS + CUDA))
def test_kernel_files_are_closed_under_calls(path):
    tree = ast.parse(path.read_text("utf-8"))
    own = {function.name for function in functions(tree)}
    ours, foreign = imported(tree)
    if path in CUDA:  # which no cache on disk can make stale
        assert "from sparsenum._cuda import" in path.read_text("utf-8")
        foreign |= ours
        constants = [n for n in tree.body if isinstance(n, ast.Assign)]
        own |= {t.id for n in constants for t in ast.walk(n) if isinstance(t, ast.Name)}
    else:
        shared = versioned(tree)
        assert ours <= DECORATORS | shared
        foreign |= shared
    callable_here = own | foreign | {"abs", "int", "len", "max", "min", "range", "round"}
    marks = {f.name: {getattr(d, "func", d).id for d in f.decorator_list} for f in functions(tree)}
    for function in functions(tree):
        decorators = marks[function.name]
        if any(function.name in others for others in marks.values()):
            continue  # a decorator of its own
        assert decorators & DECORATORS, f"{function.name} is not compiled"
        assert ast.get_docstring(function), f"{function.name} says nothing"
        for call in [n for n in ast.walk(function) if isinstance(n, ast.Call)]:
            if isinstance(call.func, ast.Name):
                assert call.func.id in callable_here, f"{function.name} calls {call.func.id}"


@pytest.mark.parametrize("path", KERNELS + CUDA, ids=names(KERNELS + CUDA))
def test_all_of_a_kernel_file_is_what_others_use(path):
    tree = ast.parse(path.read_text("utf-8"))
    package = ".".join(path.parent.relative_to(ROOT).parts)
    name = path.stem
    listed = importlib.import_module(f"{package}.{name}").__all__
    used = set().union(*(taken_from(package, name, source) for source in SOURCES))
    used = {word for word in used if not word.isupper()}
    assert [word for word in listed if not word.isupper()] == sorted(used)
    assert used <= {function.name for function in functions(tree)}


def taken_from(package, name, source):
    """Return what a source file uses of a module of a package, by its attributes or by name."""
    imports, attributes = names_in(source)
    found = {word for module, word, _ in imports if module == f"{package}.{name}"}
    called = {alias for module, word, alias in imports if (module, word) == (package, name)}
    return found | {attribute for value, attribute in attributes if value in called}


@cache
def names_in(source):
    """Return what a source file imports by name, and the attributes of names in it."""
    nodes = list(ast.walk(ast.parse(source.read_text("utf-8"))))
    imports = [
        (node.module, alias.name, alias.asname or alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    return imports, {(getattr(node.value, "id", None), node.attr) for node in attributes}


def compiled(path):
    """Return the compiled functions of a file: names, and digests of all but their docstrings."""
    text, found = path.read_text("utf-8"), {}
    for function in functions(ast.parse(text)):
        lines, first = text.splitlines(), function.decorator_list[0].lineno
        doc = function.body[0]
        kept = lines[first - 1 : doc.lineno - 1] + lines[doc.end_lineno : function.end_lineno]
        found[function.name] = hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]
    return found


def test_a_formula_that_changes_changes_its_name():
    """Or its callers, cached on disk, would go on with the old one. A new one gets a new line."""
    assert compiled(FORMULAS) == DIGESTS


def test_no_kernel_is_a_copy_of_another():
    found = [digest for path in KERNELS for digest in compiled(path).values()]
    assert len(set(found)) == len(found)


def test_there_are_kernels_to_check():
    assert min(len(KERNELS), len(CUDA)) >= 2


def test_only_kernels_and_their_leaf_know_numba_cuda():
    said = [p for p in SOURCES if re.search(r"numba import .*\bcuda\b|numba\.cuda", code_of(p))]
    assert {path.name.removesuffix(".py").split("_")[1] for path in said} == {"cuda"}


def code_of(path):
    """Return a file without its docstrings and comments."""
    return ast.unparse(without_docstrings(ast.parse(path.read_text("utf-8"))))


def without_docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def test_fast_math_is_never_everything():
    said = [path for path in SOURCES if re.search(r"fastmath\s*=\s*True", path.read_text("utf-8"))]
    assert names(said) == []


# Files


def test_files_are_short_and_named_for_what_they_hold():
    long = [path for path in EVERYTHING if len(path.read_text("utf-8").splitlines()) > 400]
    assert names(long) == []
    vague = {"utils", "util", "helpers", "common", "core", "misc", "base"}
    assert names(p for p in EVERYTHING if {*p.relative_to(ROOT).parts[:-1], p.stem} & vague) == []


# Public names

PUBLIC = [
    pytest.param(getattr(module, name), id=f"{module.__name__}.{name}")
    for module in (ot, sparse, topology)
    for name in module.__all__
]


@pytest.mark.parametrize("thing", PUBLIC)
def test_public_names_are_documented(thing):
    doc = inspect.getdoc(thing)
    assert doc
    assert len(doc.splitlines()[0]) < 100
    if inspect.isclass(thing):
        for field in getattr(thing, "__dataclass_fields__", {}):
            assert field.startswith("_") or re.search(rf"^.*\b{field}\b.* : ", doc, re.M), field
        for name, member in inspect.getmembers(thing):
            if not name.startswith("_") and callable(member):
                assert inspect.getdoc(member), name
        return
    assert "\nParameters\n----------\n" in doc
    assert "\nReturns\n-------\n" in doc
    described = doc.split("\nParameters\n")[1].split("\nReturns\n")[0]
    for name in inspect.signature(thing).parameters:
        assert re.search(rf"^[\w, *]*\b{name}\b", described, re.M), name


SHOWN = PUBLIC + [
    pytest.param(getattr(module, name), id=f"{module.__name__}.{name}")
    for module in (nn, recsys, data, datasets, evaluation, blend, storage)
    for name in module.__all__
    if callable(getattr(module, name))
]


@pytest.mark.parametrize("thing", SHOWN)
def test_public_names_have_examples_that_run(thing):
    name = thing.__name__
    tests = doctest.DocTestFinder(recurse=False).find(thing, name, globs={name: thing})
    assert any(test.examples for test in tests)
    for test in tests:
        assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


@pytest.mark.parametrize(
    "package",
    [sparsenum, nn, ot, sparse, topology, recsys, data, datasets, evaluation, blend, storage],
)
def test_a_package_lists_its_public_names_alone(package):
    rooms = {"blend", "data", "evaluation"} if package is recsys else set()
    assert set(dir(package)) == {*package.__all__, *rooms}
    assert all(hasattr(package, name) for name in dir(package))


# Tests

TESTING = [path for path in EVERYTHING if "atol" in path.read_text("utf-8")]
CLOSE = {"assert_allclose", "allclose", "isclose"}


def options(node):
    """Return the options that a comparison, or a dict of options, names."""
    if isinstance(node, ast.Dict):
        return {key.value for key in node.keys if isinstance(key, ast.Constant)}
    if isinstance(node, ast.Call) and getattr(node.func, "attr", None) in CLOSE:
        return {keyword.arg for keyword in node.keywords}
    return set()


@pytest.mark.parametrize("path", TESTING, ids=names(TESTING))
def test_an_absolute_tolerance_stands_beside_a_relative_one(path):
    """Alone it would bring numpy's 1e-7 along, and a bound of 1e-14 would hold nothing to it."""
    named = {node: options(node) for node in ast.walk(ast.parse(path.read_text("utf-8")))}
    loose = [node.lineno for node, said in named.items() if "atol" in said and "rtol" not in said]
    assert loose == []
