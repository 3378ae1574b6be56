"""Live log files, read through every kind of rotation: nothing lost, nothing read twice."""

from .commands import Command
from .follower import Follower
from .stream import Stream
from .wake import Wake
from .wanted import Lines, Problem, Wanted

__all__ = ["Command", "Follower", "Lines", "Problem", "Stream", "Wake", "Wanted"]
