"""Answers, a line each, with kafka-python's own encoder, decoder and partitioner.

  encode CODEC PRODUCER EPOCH SEQUENCE RECORD..   -> a batch in hex
  decode HEX                                      -> CODEC PRODUCER EPOCH SEQUENCE BASE LAST RECORD..
  murmur2 HEX                                     -> the hash, as an unsigned number

A record is TIMESTAMP:KEY:VALUE:HEADERS; bytes are hex, "-" is null; headers are NAME=VALUE, joined by "+".
"""

import sys

from kafka.partitioner.default import murmur2
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def hexed(value):
    return "-" if value is None else bytes(value).hex()


def unhexed(text):
    return None if text == "-" else bytes.fromhex(text)


def encode(codec, producer, epoch, sequence, *records):
    builder = DefaultRecordBatchBuilder(
        2, CODECS.index(codec), False, int(producer), int(epoch), int(sequence), 1 << 30
    )
    for offset, record in enumerate(records):
        timestamp, key, value, headers = record.split(":")
        pairs = [h.split("=") for h in headers.split("+") if h]
        headers = [(bytes.fromhex(name).decode(), unhexed(value)) for name, value in pairs]
        added = builder.append(offset, int(timestamp), unhexed(key), unhexed(value), headers)
        assert added is not None, "the batch is full"
    return bytes(builder.build()).hex()


def decode(text):
    batch = DefaultRecordBatch(bytes.fromhex(text))
    assert batch.validate_crc(), "the checksum is wrong"
    fields = [
        CODECS[batch.compression_type],
        batch.producer_id,
        batch.producer_epoch,
        batch.base_sequence,
        batch.base_offset,
        batch.last_offset,
    ]
    for record in batch:
        headers = "+".join(f"{name.encode().hex()}={hexed(value)}" for name, value in record.headers)
        fields.append(f"{record.timestamp}:{hexed(record.key)}:{hexed(record.value)}:{headers}")
    return " ".join(str(field) for field in fields)


def hashed(text=""):
    return str(murmur2(bytes.fromhex(text)) & 0xFFFFFFFF)


ANSWERS = {"encode": encode, "decode": decode, "murmur2": hashed}

for line in sys.stdin:
    verb, *arguments = line.split()
    print(ANSWERS[verb](*arguments))
