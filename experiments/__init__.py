"""The experiments, a folder each: the figure or table of a paper with its axes, measure, figures and claims.

They stand in `experiments/` of the repository and are installed as `tbptt_jax.experiments`.
"""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from tbptt_jax.errors import UserError, choose
from tbptt_jax.files import import_file
from tbptt_jax.lab.experiment import Experiment


def names() -> list[str]:
    """Those that are installed."""
    return sorted(module.name for module in iter_modules(__path__) if module.ispkg)


def load(name: str) -> Experiment:
    """The experiment of a name, or the one in a user's file or folder."""
    if name.endswith(".py") or "/" in name:
        module = import_file("experiment", Path(name))
    else:
        choose("experiment", name, dict.fromkeys(names()))
        module = import_module(f"{__name__}.{name}")
    found = [value for value in vars(module).values() if isinstance(value, Experiment)]
    if len(found) != 1:
        raise UserError(f"experiment: one Experiment is needed in {name}, found {len(found)}")
    own = found[0].name
    if own in names() and not module.__name__.endswith(f"experiments.{own}"):
        its_place = (Path(__file__).parent / own).resolve()
        is_its_file = Path(name).resolve() in (its_place, its_place / "__init__.py")
        if not is_its_file:  # both would keep their results in one folder
            raise UserError(f"experiment: {name} has the name of one that is installed, {own!r}; give it another")
    return found[0]
