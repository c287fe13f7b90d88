"""Entities, regions, pools, nodes and the cell: written by `admin apply`, read by everyone who judges or places."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, SQLModel, col

from nordan_core.domain.ids import PoolName, RegionCode
from nordan_core.domain.money import Price
from nordan_core.domain.places import ExecutorKind, Hold, Pool, Region
from nordan_core.store.nodes import Nodes
from nordan_core.store.tables.places import CellRow, EntityRow, PoolRow, RegionRow
from nordan_core.world import ControlPlaneDocument, EntityDocument, PoolDocument, RegionDocument
from nordan_core.world_facts import WorldState

Document = dict[str, Any]  # Any: JSON


class Places:
    """Reads and writes places."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def world(self) -> WorldState:
        """Return all facts as stored."""
        cell = self._session.get(CellRow, 1)
        regions = list(self._session.scalars(select(RegionRow)))
        pools = list(self._session.scalars(select(PoolRow)))
        return WorldState(
            cell=cell.document if cell else None,
            entities={row.name: row.document for row in self._session.scalars(select(EntityRow))},
            regions={row.code: row.document for row in regions},
            pools={row.name: row.document for row in pools},
            facts_versions={row.name: row.facts_version for row in pools},
            offered_tenancy={
                row.code: tuple(row.offers_tenancy["levels"]) for row in regions if row.offers_tenancy is not None
            },
        )

    def put_cell(self, document: ControlPlaneDocument, now: datetime) -> str:
        """Store where the control plane stands; returns created, updated or unchanged."""
        before = self._session.get(CellRow, 1)
        stored = document.stored()
        if before is not None and before.document == stored:
            return "unchanged"
        self._upsert(CellRow, {"id": 1, "document": stored, "updated_at": now}, "id")
        return "updated" if before else "created"

    def put_entity(self, document: EntityDocument, now: datetime) -> str:
        """Store a legal person; returns created, updated or unchanged."""
        before = self._session.get(EntityRow, document.name)
        stored = document.stored()
        if before is not None and before.document == stored:
            return "unchanged"
        version = before.version + 1 if before else 1
        values = {"name": document.name, "document": stored, "version": version, "updated_at": now}
        self._upsert(EntityRow, values, "name")
        return "updated" if before else "created"

    def put_region(self, document: RegionDocument, now: datetime) -> str:
        """Store a region; returns created, updated or unchanged."""
        before = self._session.get(RegionRow, document.name)
        stored = document.stored()
        if before is not None and before.document == stored:
            return "unchanged"
        version = before.version + 1 if before else 1
        values = {"code": document.name, "document": stored, "version": version, "updated_at": now, "gateway_url": ""}
        self._upsert(RegionRow, values, "code", keep=("gateway_url",))
        return "updated" if before else "created"

    def put_pool(self, document: PoolDocument, now: datetime) -> str:
        """Store a pool and its nodes; returns created, updated or unchanged.

        Nodes of the local executor are named `<pool>-<n>`. A smaller pool keeps its last nodes as `down`, so that what
        runs there may end. A cluster names its nodes itself (`Nodes.report`).

        Raises:
            Conflict: its nodes would have less than jobs hold of them.
        """
        before = self._session.get(PoolRow, document.name)
        stored = document.stored()
        if before is not None and before.document == stored:
            return "unchanged"
        values = {
            "name": document.name,
            "region": document.region,
            "document": stored,
            "accelerator": document.accelerator,
            "gpus_per_node": document.gpus_per_node,
            "price_micro_eur_per_gpu_s": Price.per_gpu_hour(document.price_eur_per_gpu_h).micro_eur_per_gpu_s,
            "facts_version": before.facts_version + 1 if before else 1,
            "facts_valid_until": document.facts_valid_until,
            "updated_at": now,
        }
        self._upsert(PoolRow, values, "name")
        region = self._session.get_one(RegionRow, document.region)
        executor = ExecutorKind(region.document["executor"])
        Nodes(self._session).follow_document(document, executor, now)
        return "updated" if before else "created"

    def step_facts(self) -> None:
        """Raise every pool's facts version, after a change of an entity or a region that pools are judged by."""
        self._session.execute(text("update pool set facts_version = facts_version + 1"))

    def regions(self) -> list[Region]:
        """Return all regions by code."""
        return [_region(row) for row in self._session.scalars(select(RegionRow).order_by(col(RegionRow.code)))]

    def region(self, code: str) -> Region | None:
        """Return one region."""
        row = self._session.get(RegionRow, code)
        return _region(row) if row else None

    def pools(self) -> list[Pool]:
        """Return all pools by name."""
        return [_pool(row) for row in self._session.scalars(select(PoolRow).order_by(col(PoolRow.name)))]

    def join(
        self,
        region: RegionCode,
        *,
        credential_hash: str,
        gateway_url: str,
        broker_sealed: bytes,
        offers: tuple[str, ...],
    ) -> None:
        """Store how a region is reached and known; an older credential stops working."""
        statement = update(RegionRow).where(col(RegionRow.code) == region)
        self._session.execute(
            statement.values(
                credential_hash=credential_hash,
                gateway_url=gateway_url,
                broker_sealed=broker_sealed,
                offers_tenancy={"levels": list(offers)},
            )
        )

    def broker(self, region: RegionCode) -> bytes | None:
        """Return a region's broker URL as it was sealed; None before the region joined."""
        statement = select(col(RegionRow.broker_sealed)).where(col(RegionRow.code) == region)
        return self._session.scalars(statement).one_or_none()

    def with_broker(self) -> frozenset[RegionCode]:
        """Return the regions that have said where their broker is."""
        statement = select(col(RegionRow.code)).where(col(RegionRow.broker_sealed).is_not(None))
        return frozenset(RegionCode(code) for code in self._session.scalars(statement))

    def region_of_credential(self, credential_hash: str) -> RegionCode | None:
        """Return the region that holds this credential."""
        statement = select(col(RegionRow.code)).where(col(RegionRow.credential_hash) == credential_hash)
        code = self._session.scalars(statement).one_or_none()
        return RegionCode(code) if code else None

    def seen(self, region: RegionCode, supervisor: str, now: datetime) -> None:
        """Note that a region's supervisor spoke."""
        statement = update(RegionRow).where(col(RegionRow.code) == region)
        self._session.execute(statement.values(seen_at=now, supervisor_id=supervisor))

    def _upsert(self, table: type[SQLModel], values: Document, key: str, keep: tuple[str, ...] = ()) -> None:
        changed = {name: value for name, value in values.items() if name != key and name not in keep}
        statement = insert(table).values(**values).on_conflict_do_update(index_elements=[key], set_=changed)
        self._session.execute(statement)
        self._session.expire_all()


def _region(row: RegionRow) -> Region:
    document = row.document
    return Region(
        code=RegionCode(row.code),
        territory=document["territory"],
        operator=document["operator"],
        executor=ExecutorKind(document["executor"]),
        host=document["host"] or document["operator"],
        locode=document["locode"],
        grid_zone=document["grid_zone"],
        pue=document["pue"],
        gateway_url=row.gateway_url,
        seen_at=row.seen_at,
        nodes_seen_at=row.nodes_seen_at,
    )


def _pool(row: PoolRow) -> Pool:
    return Pool(
        name=PoolName(row.name),
        region=RegionCode(row.region),
        provider=row.document["provider"],
        accelerator=row.accelerator,
        gpu_memory_mib=row.document["gpu_memory_mib"],
        gpus_per_node=row.gpus_per_node,
        price=Price.nearest(Decimal(row.document["price_eur_per_gpu_h"])),
        facts_version=row.facts_version,
        power_w_per_gpu=row.document["power_w_per_gpu"],
        has_made_up_gpus=row.document["has_made_up_gpus"],
        hold=Hold(row.hold),
        hold_reason=row.hold_reason,
    )
