"""Prefect blocks: what operators configure once. A block holds settings and opens an object of the layer below."""

from blocks.alarms import BackupAlarms
from blocks.checks import DrillChecks
from blocks.encryption import BackupEncryption, BackupIdentities
from blocks.export_rules import ErasureSubject, ExportRules
from blocks.maintenance import MaintenanceWindow
from blocks.mongodb import MongoDBSource, MongoDBTarget
from blocks.store import BackupStore

__all__ = [
    "BackupAlarms",
    "BackupEncryption",
    "BackupIdentities",
    "BackupStore",
    "DrillChecks",
    "ErasureSubject",
    "ExportRules",
    "MaintenanceWindow",
    "MongoDBSource",
    "MongoDBTarget",
]
