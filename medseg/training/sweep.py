"""Losses x seeds on one experiment, each point a run of its own; a rerun skips the finished points and resumes the broken one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.config import SweepConfig, load_config, load_sweep, to_dict
from medseg.config.schema import Config
from medseg.training.run import resume, train
from medseg.training.run_folder import RunFolder
