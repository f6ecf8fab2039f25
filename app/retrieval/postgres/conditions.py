"""Filters to SQL: a condition on a row ``d`` of ``documents``, with its parameters.

A condition on a field that a document lacks is NULL, which a WHERE takes for false; ``Not`` turns
what is not true into true. ``app.retrieval.filters.matches`` is what it all has to mean.
"""

from collections.abc import Mapping
from typing import Any as Anything
from typing import LiteralString

from psycopg import sql

from app.retrieval.filters import METADATA, All, Any, Filter, In, Not, Range, require_filter
from app.retrieval.postgres.rows import escaped, json_value
from app.retrieval.store import FieldType

_SIGNS: dict[str, LiteralString] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Condition:
    """A condition with its parameters, in the order of their places."""

    def __init__(self, where: Filter | None, fields: Mapping[str, FieldType]) -> None:
        """Translate a filter; None holds for every document.

        Args:
            where: The filter.
            fields: The declared fields of the collection.

        Raises:
            InvalidInputError: If no engine could apply the filter.
        """
        self.parameters: list[Anything] = []
        self._fields = fields
        self.text: sql.Composable = sql.SQL("true")
        if where is not None:
            self.text = self._translate(require_filter(where))

    def _translate(self, where: Filter) -> sql.Composable:
        match where:
            case In("lang" | "script" as column, values):
                self.parameters.append([escaped(str(value)) for value in values])
                return sql.SQL("d.{} = ANY(%s)").format(sql.Identifier(column))
            case In("doc_id", values):
                self.parameters.append([str(value).encode() for value in values])
                return sql.SQL("d.doc_id = ANY(%s)")
            case In(field, values):
                return self._is_in(field.removeprefix(METADATA), list(map(json_value, values)))
            case Range(field):
                return self._is_between(field.removeprefix(METADATA), where.bounds)
            case All(parts):
                return self._joined(" AND ", parts)
            case Any(parts):
                return self._joined(" OR ", parts)
            case Not(part):
                return sql.SQL("({}) IS NOT TRUE").format(self._translate(part))

    def _is_in(self, key: str, values: list[str]) -> sql.Composable:
        if self._fields.get(key) != "string":
            self.parameters += [escaped(key), values]
            return sql.SQL("d.fields -> %s::text = ANY(%s::text[]::jsonb[])")
        self.parameters += [escaped(key), values, escaped(key), values]
        return sql.SQL("""(jsonb_hash_extended(d.fields -> %s::text, 0) = ANY(ARRAY(
            SELECT jsonb_hash_extended(v, 0) FROM unnest(%s::text[]::jsonb[]) AS v))
            AND d.fields -> %s::text = ANY(%s::text[]::jsonb[]))""")

    def _is_between(self, key: str, bounds: Mapping[str, float]) -> sql.Composable:
        # Across kinds jsonb has an order too; hence the kind is asked for.
        self.parameters.append(escaped(key))
        checks: list[sql.Composable] = [sql.SQL("jsonb_typeof(d.fields -> %s::text) = 'number'")]
        for name, bound in bounds.items():
            self.parameters += [escaped(key), json_value(bound)]
            checks.append(
                sql.SQL("d.fields -> %s::text {} %s::jsonb").format(sql.SQL(_SIGNS[name]))
            )
        return sql.SQL("({})").format(sql.SQL(" AND ").join(checks))

    def _joined(self, by: LiteralString, parts: tuple[Filter, ...]) -> sql.Composable:
        return sql.SQL("({})").format(sql.SQL(by).join([self._translate(part) for part in parts]))
