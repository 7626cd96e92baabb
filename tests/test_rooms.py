"""The plan of the house: who may import whom, and what may not be imported at all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fanin

HOUSE = Path(fanin.__file__).parent

# From the ground up. Rooms of one floor leave each other alone. Training, model files and sampling
# stand on one floor in the plan, as three steps of one stair: a model file holds the record of a
# training run, and what is sampled is a model.
FLOORS = (
    ("axes", "errors", "interrupts", "atomic_file", "program_cache"),
    ("corpus", "autograd", "theory", "tensor_file"),
    ("networks",),
    ("starts",),
    ("training",),
    ("model_checks",),
    ("model_file",),
    ("sampling", "optimiser_state"),
    ("trainer",),
    ("resumption",),
    ("diagnosis",),
    ("torch",),
    ("race",),
    ("map", "search"),
    ("pictures",),
    ("lab",),
    ("cli",),
    ("__main__",),
    ("__init__",),  # the contents page
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# The lesson is a user's program that happens to be here: it imports the public names.
MODULES = sorted(set(HOUSE.rglob("*.py")) - {HOUSE / "lab" / "lesson.py"})


def room_of(path):
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported_rooms(path):
    """Each room of fanin that the module imports, with the line: at the top, inside functions,
    and for type checking alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports by a relative name"
            modules = [node.module]
            if node.module == "fanin":
                modules = [f"fanin.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            house, _, rest = module.partition(".")
            if house == "fanin":
                # `import fanin` is the contents page, which stands above all that it lists.
                yield (rest.partition(".")[0] or "__init__"), node.lineno


def loaded_by(statements):
    """Which of the heavy libraries another process has loaded after the statements."""
    heavy = {"jax", "jaxlib", "numpy", "scipy", "matplotlib", "optax", "safetensors", "torch"}
    command = f"import sys\n{statements}\nprint(*({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_there_are_modules_to_look_at():
    assert len(MODULES) > 40


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_nothing_imports_upwards_nor_next_door(path):
    room = room_of(path)
    assert room in FLOOR_OF, f"the room {room} stands on no floor"
    for imported, line in imported_rooms(path):
        assert imported in FLOOR_OF, f"{path}:{line} imports {imported}, which is no room"
        assert imported == room or FLOOR_OF[imported] < FLOOR_OF[room], (
            f"{path}:{line}: {room} imports {imported}, which does not stand below it"
        )


@pytest.mark.parametrize(
    ("text", "rooms"),
    [
        ("from fanin.cli import main", {"cli"}),
        ("from fanin import race", {"race"}),
        ("import fanin.race.run", {"race"}),
        ("import fanin", {"__init__"}),
        ("def f():\n    from fanin.lab import page", {"lab"}),
        ("import faninny, jax.numpy", set()),
    ],
)
def test_the_look_at_imports_sees_every_form(tmp_path, text, rooms):
    path = tmp_path / "module.py"
    path.write_text(text)
    assert {room for room, _ in imported_rooms(path)} == rooms


def test_importing_fanin_imports_nothing_heavy():
    assert loaded_by("import fanin") == set()
    assert loaded_by("import fanin\nfanin.FaninError") == set()
    assert "jax" in loaded_by("import fanin\nfanin.Value")


# A name that stands for None in sys.modules cannot be imported, not by anyone.
WITHOUT_JAX = "sys.modules['jax'] = sys.modules['jaxlib'] = None\n"


def test_schemes_and_theory_load_and_work_without_jax():
    loaded_by(
        WITHOUT_JAX
        + """
from fanin.starts import SCHEMES, find_start
from fanin.theory import find_nonlinearity
scale = find_start("fanin").hidden.scale(100, 50, find_nonlinearity("tanh"))
assert abs(scale - 0.159254) < 1e-6, scale
"""
    )


def test_diagnosis_loads_without_jax():
    loaded_by(WITHOUT_JAX + "import fanin.diagnosis")


def test_a_module_is_diagnosed_and_mended_without_jax():
    pytest.importorskip("torch")
    loaded = loaded_by(
        """
import torch
from fanin.torch import diagnose
module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
torch.nn.init.normal_(module[2].weight, std=30.0)
report = diagnose(module, torch.randn(64, 8), torch.randint(4, (64,)))
assert report.verdict == "bad", report.checks
assert diagnose(report.fixed(), torch.randn(64, 8), torch.randint(4, (64,))).verdict == "good"
report.html(), report.to_json()
"""
    )
    assert "jax" not in loaded


def test_every_public_name_is_there_and_no_other():
    assert sorted(fanin.__all__) == fanin.__all__
    assert dir(fanin) == fanin.__all__
    for name in fanin.__all__:
        assert getattr(fanin, name).__name__ == name
    with pytest.raises(AttributeError, match="fanin has no name 'trian'; it has Bigram"):
        fanin.trian  # noqa: B018
