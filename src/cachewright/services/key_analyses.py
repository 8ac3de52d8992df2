"""Analyses for big and for hot keys: list, show and delete them."""

from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.key_analyses import KeyAnalysis, Subject
from cachewright.model.tasks import ENDED, Task
from cachewright.operations.analyse_keys import ANALYSES, AnalysisParams
from cachewright.services.lookup import instance_of
from cachewright.services.tasks import TaskService
from cachewright.store import key_analyses, tasks
from cachewright.store.database import Database

_NOT_FOUND: Mapping[Subject, str] = {
    "big": errors.BIG_KEY_ANALYSIS_NOT_FOUND,
    "hot": errors.HOT_KEY_ANALYSIS_NOT_FOUND,
}


class AnalysisRecord(msgspec.Struct, frozen=True):
    """An analysis and its task."""

    analysis: KeyAnalysis
    task: Task

    @property
    def params(self) -> AnalysisParams:
        return ANALYSES[self.analysis.subject].params_of(self.task)


class KeyAnalysisService(msgspec.Struct, frozen=True):
    """All methods find only instances of the caller's project, else they raise ApiError DCS.3022. Methods for one
    analysis raise DCS.4941 or DCS.4942 if the instance does not have it."""

    database: Database
    tasks: TaskService

    def start(self, principal: Principal, instance_id: str, subject: Subject) -> AnalysisRecord:
        """Start an analysis, or return the one that has not ended. Raises ApiError of `TaskService.submit`, DCS.4919
        if the nodes do not count how often keys are used."""
        task = self.tasks.submit(ANALYSES[subject], principal, instance_id, AnalysisParams())
        return self.show(principal, instance_id, subject, task.id)

    def list(self, principal: Principal, instance_id: str, subject: Subject) -> list[AnalysisRecord]:
        """Return the analyses of an instance, newest first, without their keys. There are at most a hundred."""
        with self.database.read() as connection:
            instance_of(connection, principal.project_id, instance_id)
            found = key_analyses.of_instance(connection, instance_id, subject)
            known = tasks.of_ids(connection, [analysis.id for analysis in found])
        return [AnalysisRecord(analysis, known[analysis.id]) for analysis in found]

    def show(self, principal: Principal, instance_id: str, subject: Subject, analysis_id: str) -> AnalysisRecord:
        """Return an analysis with the keys that it has found."""
        with self.database.read() as connection:
            return _found(connection, principal, instance_id, subject, analysis_id)

    def delete(self, principal: Principal, instance_id: str, subject: Subject, analysis_id: str) -> AnalysisRecord:
        """Delete an analysis and return it. Its task stays on record. Raises ApiError DCS.4957 if it has not ended."""
        with self.database.write() as connection:
            record = _found(connection, principal, instance_id, subject, analysis_id)
            if record.task.status not in ENDED:
                raise ApiError(errors.TASK_STATE_CONFLICT, reason="it has not ended")
            key_analyses.remove(connection, [analysis_id])
        return record


def _found(
    connection: sa.Connection, principal: Principal, instance_id: str, subject: Subject, analysis_id: str
) -> AnalysisRecord:
    instance_of(connection, principal.project_id, instance_id)
    analysis = key_analyses.find(connection, instance_id, subject, analysis_id)
    if analysis is None:
        raise ApiError(_NOT_FOUND[subject])
    return AnalysisRecord(analysis, tasks.load(connection, analysis.id))
