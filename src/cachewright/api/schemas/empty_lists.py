"""Shapes of lists that are always empty, because nothing makes their items. Types follow the SDK's models."""

import msgspec


class LogFiles(msgspec.Struct, frozen=True):
    total_num: int = 0
    file_list: tuple[()] = ()


class AnalysisRecords(msgspec.Struct, frozen=True):
    instance_id: str
    total: int = 0
    records: tuple[()] = ()
