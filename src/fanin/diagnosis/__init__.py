"""Step zero: measure a network, judge it, prescribe, put right. Knows no framework."""

from fanin.diagnosis.recording import Recording
from fanin.diagnosis.report import Check, Prescription, Report

__all__ = ["Check", "Prescription", "Recording", "Report"]
