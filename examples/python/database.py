"""A small client of Skerry, over gRPC. It needs grpcio, protobuf and the messages that protoc makes of node/proto/proto:

    protoc -I node/proto/proto --python_out=. node/proto/proto/skerry/v1/*.proto
"""

import random
import time

import grpc
from skerry.v1 import kv_pb2, session_pb2

# How long one try lasts, and all tries of an operation together.
TRY_SECONDS, ALL_SECONDS = 3, 15
# Nothing happened: another node, or the same one a little later, may do it.
AGAIN = {"NOT_LEADER", "WRONG_SHARD", "OVERLOADED", "CLOSING", "TOO_STALE", "NOT_COORDINATOR", "TOO_FEW_COPIES", "SEEN_AHEAD"}


class Failed(Exception):
    """Why an operation was not carried out. `reason` is one of those in node/proto/proto/skerry/v1/error.proto."""

    def __init__(self, reason, text):
        super().__init__(f"{reason}: {text}")
        self.reason = reason


class Database:
    """One database, by the addresses of some of its nodes. For tables that follow leaders: what a client of quorum tables
    does besides, docs/grpc.md says."""

    def __init__(self, addresses):
        self.addresses = list(addresses)
        self.channels = {}
        self.client = random.getrandbits(64)
        self.sequence = 0

    def put(self, table, partition, value, sort=b"", expires_ms=None):
        """Sets a value. Gives its version. However often it has to be tried, it takes effect once."""
        key = kv_pb2.Key(partition=partition, sort=sort)
        request = kv_pb2.PutRequest(table=table, key=key, value=value, request_id=self._request_id())
        if expires_ms is not None:
            request.expires_ms = expires_ms
        return self._call("Put", request, kv_pb2.PutResponse).version

    def put_if(self, table, partition, value, version, sort=b""):
        """Sets a value if the key still has this version; `None` = if it has none. Fails with CONDITION_FAILED."""
        key = kv_pb2.Key(partition=partition, sort=sort)
        held = {"absent": True} if version is None else {"version": version}
        request = kv_pb2.BatchRequest(
            table=table,
            conditions=[kv_pb2.Condition(key=key, **held)],
            mutations=[kv_pb2.Mutation(key=key, value=value)],
            request_id=self._request_id(),
        )
        return self._call("Batch", request, kv_pb2.BatchResponse).version

    def get(self, table, partition, sort=b""):
        """The newest record of a key, or `None`."""
        request = kv_pb2.GetRequest(table=table, key=kv_pb2.Key(partition=partition, sort=sort))
        request.consistency = session_pb2.READ_CONSISTENCY_LINEARIZABLE
        answer = self._call("Get", request, kv_pb2.GetResponse)
        return answer.record if answer.HasField("record") else None

    def scan_partition(self, table, partition):
        """All records of one partition, in order of their sort parts."""
        request = kv_pb2.ScanRequest(table=table, partition=kv_pb2.PartitionRange(partition=partition))
        request.consistency = session_pb2.READ_CONSISTENCY_LINEARIZABLE
        while True:
            page = self._call("Scan", request, kv_pb2.ScanResponse)
            yield from page.records
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _request_id(self):
        # The time of the first try, as a version: milliseconds, then 18 bits of counter.
        self.sequence += 1
        issued = int(time.time() * 1000) << 18
        return session_pb2.RequestId(issued=issued, client=self.client, sequence=self.sequence)

    def _call(self, method, request, answer):
        """Asks one node after the other, the leader as soon as one of them has named it."""
        until = time.monotonic() + ALL_SECONDS
        address, tries, last = None, 0, None
        while time.monotonic() < until:
            address = address or self.addresses[tries % len(self.addresses)]
            tries += 1
            try:
                return self._method(address, method, request, answer)(request, timeout=TRY_SECONDS)
            except grpc.RpcError as error:
                told = dict(error.trailing_metadata() or ())
                reason = told.get("skerry-reason")
                # Without a reason it is not certain what became of it: the request id makes another try safe.
                if reason is not None and reason not in AGAIN and reason != "OUTCOME_UNKNOWN":
                    raise Failed(reason, error.details()) from error
                last, address = error, told.get("skerry-leader")
                if address is None:
                    time.sleep(random.uniform(0.01, 0.2))
        raise Failed("DEADLINE", f"not done after {ALL_SECONDS} s: {last.details()}") from last

    def _method(self, address, method, request, answer):
        if address not in self.channels:
            self.channels[address] = grpc.insecure_channel(address)
        return self.channels[address].unary_unary(
            f"/skerry.v1.KvService/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
