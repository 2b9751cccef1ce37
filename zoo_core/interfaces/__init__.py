"""The interfaces of the zoo, and the capabilities that a recipe may have beside them.

The harness and the evaluator ask "can you do this?" with `isinstance(recipe, HasLikelihood)`; they never ask
which family a model belongs to.
"""

from zoo_core.interfaces.capabilities import (
    HasCodebook,
    HasConditionalLikelihood,
    HasCritic,
    HasEncoder,
    HasLatents,
    HasLikelihood,
    HasOutput,
    HasStyles,
    HasUnits,
    HasViews,
    Stylist,
    Translator,
    TwoWay,
)
from zoo_core.interfaces.density import Density, Law, Smoothable
from zoo_core.interfaces.diffusion import (
    Coupling,
    Denoiser,
    HasDenoiser,
    HasPosterior,
    Sampler,
    Trace,
    coupling_of,
    spreads_of,
)
from zoo_core.interfaces.evaluation import EvalContext, FeatureSet, ModeLabels, Settings
from zoo_core.interfaces.extractor import Extractor, HasLayers, HasNetworks
from zoo_core.interfaces.networks import Critic, Generator
from zoo_core.interfaces.runs import EvaluatedRun, RunView, TrainedRun

__all__ = [
    "Generator",
    "Critic",
    "Denoiser",
    "Coupling",
    "coupling_of",
    "spreads_of",
    "Trace",
    "Sampler",
    "HasPosterior",
    "HasDenoiser",
    "HasLikelihood",
    "HasEncoder",
    "HasLatents",
    "HasStyles",
    "HasUnits",
    "HasViews",
    "HasCodebook",
    "HasConditionalLikelihood",
    "HasCritic",
    "HasOutput",
    "Translator",
    "TwoWay",
    "Stylist",
    "Law",
    "Density",
    "Smoothable",
    "Extractor",
    "HasLayers",
    "HasNetworks",
    "ModeLabels",
    "FeatureSet",
    "Settings",
    "EvalContext",
    "RunView",
    "TrainedRun",
    "EvaluatedRun",
]
