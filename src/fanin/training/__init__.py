"""Training: one compiled program of many steps, and a loop that yields records of it."""

from fanin.training.divergence import Diverged
from fanin.training.evaluation import Blocks, mean_loss
from fanin.training.loop import train
from fanin.training.lr_finder import (
    LearningRateSearch,
    find_learning_rate,
    learning_rate_sweep,
)
from fanin.training.options import TrainingOptions
from fanin.training.record import History, Progress, TrainingState
from fanin.training.step import loss_and_gradient

__all__ = [
    "Blocks",
    "Diverged",
    "History",
    "LearningRateSearch",
    "Progress",
    "TrainingOptions",
    "TrainingState",
    "find_learning_rate",
    "learning_rate_sweep",
    "loss_and_gradient",
    "mean_loss",
    "train",
]
