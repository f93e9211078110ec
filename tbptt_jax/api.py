"""The public index: the names of `tb.` and nothing else. Estimators and tasks have indices of their own."""

from tbptt_jax import critics as critics
from tbptt_jax import lab as lab
from tbptt_jax.analysis import exact as exact
from tbptt_jax.analysis.cost import cost as cost
from tbptt_jax.analysis.sampling import measure as measure
from tbptt_jax.baseline import trigram as trigram
from tbptt_jax.cells import Cell as Cell
from tbptt_jax.cells import Layer as Layer
from tbptt_jax.cells import SummedLayer as SummedLayer
from tbptt_jax.errors import UserError as UserError
from tbptt_jax.estimators import *  # noqa: F403
from tbptt_jax.forward import loss as loss
from tbptt_jax.gradients.cuts.linear_scan import linear_scan as linear_scan
from tbptt_jax.gradients.cuts.scan import scan as scan
from tbptt_jax.models import Batch as Batch
from tbptt_jax.models import Model as Model
from tbptt_jax.networks import model as model
from tbptt_jax.networks import rnn as rnn
from tbptt_jax.ngrams import NGrams as NGrams
from tbptt_jax.noise import with_noise as with_noise
from tbptt_jax.plots.bias import plot_bias as plot_bias
from tbptt_jax.plots.reach import plot_reach as plot_reach
from tbptt_jax.programs.loops import scans as scans
from tbptt_jax.programs.truncate import truncate as truncate
from tbptt_jax.results import load_results as load_results
from tbptt_jax.speaking import sample_text as sample_text
from tbptt_jax.tasks import *  # noqa: F403
from tbptt_jax.training.loop import History as History
from tbptt_jax.training.loop import train as train
from tbptt_jax.version import __version__ as __version__

__all__ = [name for name in vars() if not name.startswith("__") or name == "__version__"]
