"""The compiled part of the kernel engine: it walks raw BSON, and gathers what it found into the buffers of Arrow.

Every index is checked, so that no document, however broken, is read beyond its end. What a walk does not know or does
not like it does not try to understand: it takes back what it has noted of the document, and leaves it to Python.
Compiling takes some seconds, so the code is kept: beside this file, or in `NUMBA_CACHE_DIR`. It is until the file
changes, and Numba does not see what it takes from others; so functions that call each other stay in one.
"""

# Types are Numba's to find out, of integers too.
# mypy: disable-error-code="no-untyped-def, assignment"

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from flows.core.parquet.profile import MAX_DEPTH

# What a walk does with a value of some type at some node.
LEAVE, EMIT, NOTHING, WIDEN, DECIMAL, JOIN, STRUCT, LIST, RAW, NOTED, MISFIT = range(11)
# Types besides those of BSON: what binary values are by their subtype.
UUID, OTHER_BINARY = 0x20, 0x21
TYPES = 256
PADDING = 8  # [bytes] behind the documents: names are compared by words of that many
RAW_FIELDS, NULL_FIELDS, HARD_FIELDS, UNKNOWN_FIELDS = 7, 2, 4, 3
KIND_SHIFT, NODE_SHIFT = 32, 40  # of what is packed into `Logs.place`

_EXACT_IN_DOUBLE = 2**53
_NONE = -1
_SHORT = 18  # digits by which 64 bits may be multiplied here
_POWERS = np.array([10**power for power in range(_SHORT + 1)], np.int64)
_LIMITS = np.array([(2**63 - 1) // 10**power for power in range(_SHORT + 1)], np.int64)
_BIAS = 6176
_FNV_START, _FNV_FACTOR, _WORD = 2166136261, 16777619, 0xFFFFFFFF
_NOT_ASCII = np.int64(-0x7F7F7F7F7F7F7F80)  # the upper bit of each byte


class Input(NamedTuple):
    """Documents that follow each other, and eight bytes more."""

    data: Any  # bytes
    halves: Any  # the 32-bit integers that begin at each byte
    words: Any  # the 64-bit integers
    starts: Any  # where each document begins, and where the last one ends


class Tables(NamedTuple):
    """The nodes that a walk knows; node 0 is the document. `-1` is none."""

    action: Any  # by node and type
    scale: Any  # of decimals
    first: Any  # child of the node; children have numbers in a row
    children: Any  # how many
    element: Any
    companion: Any
    length: Any  # [bytes] of the name
    name: Any  # its first 8 bytes; a NUL is part of it
    mask: Any  # the bits of these that count
    rest: Any  # where the others are in `names`, if it has more
    names: Any
    masks: Any
    table_start: Any  # of the children's hash table
    table_mask: Any
    table: Any


class Logs(NamedTuple):
    """What a walk notes, in the order of the documents."""

    place: Any  # of values that have one in a column: node, type, and row or number of the element in its list
    value: Any  # itself, or where it is
    real: Any  # the same memory as `value`, as doubles
    raw: Any  # of values that Python writes: target, slot, type, start, end, document, row, indexes of arrays around
    nulls: Any  # node, row, indexes
    hard: Any  # of decimals that Python converts: node, slot, position, document
    unknown: Any  # of names that are not in the tables: node, position, document
    rows: Any  # 1 for documents that are left to Python
    elements: Any  # how many each list has so far
    used: Any  # entries: values, raw, nulls, hard, unknown; and rows


def compiled(function: Any) -> Any:
    """Compile at the first call, with every index checked, to run without the lock of the interpreter."""
    try:
        return njit(nogil=True, cache=True, boundscheck=True)(function)
    except RuntimeError:
        # There is no folder that it could be kept in: then each process compiles.
        return njit(nogil=True, boundscheck=True)(function)


@compiled
def is_utf8(data, words, at, end):
    """Whether these bytes are, by the rules of Python: no surrogates, nothing longer than it has to be."""
    while at < end:
        if at + 8 <= end and not words[at] & _NOT_ASCII:
            at += 8
            continue
        byte = data[at]
        at += 1
        if byte < 0x80:
            continue
        if byte < 0xC2 or byte > 0xF4:
            return False
        more = 1 + (byte >= 0xE0) + (byte >= 0xF0)
        if at + more > end:
            return False
        second = data[at]
        if (byte == 0xE0 and second < 0xA0) or (byte == 0xED and second >= 0xA0):
            return False
        if (byte == 0xF0 and second < 0x90) or (byte == 0xF4 and second >= 0x90):
            return False
        for _ in range(more):
            if data[at] & 0xC0 != 0x80:
                return False
            at += 1
    return True


@compiled
def _measure(data, halves, words, kind, at, limit):  # noqa: PLR0912 - one branch for each layout
    """Type, end and content of a value: itself where 8 bytes can hold it, or its position. The end is -1 if it is bad.

    Text is checked; what lies inside of documents, arrays, code and regular expressions is not.
    """
    end, value = _NONE, at
    if kind == 0x02:
        if at + 4 <= limit:
            length = np.int64(halves[at])
            stop = at + 4 + length
            if length >= 1 and stop <= limit and not data[stop - 1] and is_utf8(data, words, at + 4, stop - 1):
                end = stop
    elif kind == 0x10:
        if at + 4 <= limit:
            end, value = at + 4, np.int64(halves[at])
    elif kind in (0x01, 0x09, 0x12):
        if at + 8 <= limit:
            end, value = at + 8, words[at]
    elif kind == 0x13:
        end = at + 16
    elif kind == 0x07:
        end = at + 12
    elif kind == 0x08:
        if data[at] <= 1:
            end, value = at + 1, np.int64(data[at])
    elif kind == 0x11:
        end = at + 8
    elif kind in (0x06, 0x0A, 0x7F, 0xFF):
        end = at
    elif kind == 0x0B:
        end = at
        for _ in range(2):
            while end < limit and data[end]:
                end += 1
            end += 1
    elif at + 4 <= limit:
        length = np.int64(halves[at])
        if kind in (0x03, 0x04, 0x0F):
            if length >= 5 and at + length <= limit and not data[at + length - 1]:
                end = at + length
        elif kind == 0x05:
            if length >= 0 and at + 5 + length <= limit:
                end = at + 5 + length
                subtype = data[at + 4]
                if subtype:
                    kind = UUID if subtype == 4 and length == 16 else OTHER_BINARY
        elif length >= 1 and at + 4 + length <= limit and not data[at + 3 + length]:
            if kind == 0x0C:
                end = at + 16 + length
            elif kind in (0x0D, 0x0E):
                end = at + 4 + length
    return kind, (end if end <= limit else _NONE), value


@compiled
def _decimal(words, at, scale):
    """What to do with a decimal: most fit 64 bits at their scale; and that integer."""
    low, high = words[at], words[at + 8]
    value = np.int64(0)
    if (high >> 59) & 15 == 15:
        return MISFIT, value
    if (high >> 61) & 3 == 3 or high & 0x1FFFFFFFFFFFF or low < 0:
        return DECIMAL, value
    if low:
        shift = scale + ((high >> 49) & 0x3FFF) - _BIAS
        if 0 <= shift <= _SHORT:
            if low > _LIMITS[shift]:
                return DECIMAL, value
            value = low * _POWERS[shift]
        elif shift > 0:
            return DECIMAL, value
        elif shift < -_SHORT or low % _POWERS[-shift]:
            return MISFIT, value
        else:
            value = low // _POWERS[-shift]
    return EMIT, (-value if high < 0 else value)


@compiled
def name_hash(data, at, length):
    """FNV-1a of 32 bits."""
    value = _FNV_START
    for offset in range(length):
        value = ((value ^ np.int64(data[at + offset])) * _FNV_FACTOR) & _WORD
    return value


@compiled
def _has_rest(words, at, length, word, names, masks):
    """Whether a name goes on as it should behind its first eight bytes, and ends.

    There are bytes enough behind the documents to look.
    """
    for offset in range(PADDING, length + 1, PADDING):
        if (words[at + offset] ^ names[word]) & masks[word]:
            return False
        word += 1
    return True


@compiled
def _search(data, words, at, limit, tables, node):
    """The child of this name, by its hash."""
    end = at
    while end < limit and data[end]:
        end += 1
    mask, start = tables.table_mask[node], tables.table_start[node]
    probe = name_hash(data, at, end - at) & mask
    while tables.table[start + probe] != _NONE:
        child = tables.table[start + probe]
        begins = tables.length[child] == end - at and not (words[at] ^ tables.name[child]) & tables.mask[child]
        if begins and _has_rest(words, at, end - at, tables.rest[child], tables.names, tables.masks):
            return child
        probe = (probe + 1) & mask
    return _NONE


@compiled
def boundaries(data, bounds):
    """Fill in where each document begins and the last one ends; returns how many there are, -1 if they do not fit."""
    at, count = 0, 0
    bounds[0] = 0
    while at < data.size:
        if at + 4 > data.size:
            return _NONE
        length = np.int64(
            np.int32(
                np.uint32(data[at])
                | np.uint32(data[at + 1]) << np.uint32(8)
                | np.uint32(data[at + 2]) << np.uint32(16)
                | np.uint32(data[at + 3]) << np.uint32(24)
            )
        )
        if length < 5 or at + length > data.size:
            return _NONE
        at += length
        count += 1
        bounds[count] = at
    return count


@compiled
def _indexes(entry, after, frames, depth, is_list, index):
    """Note which elements of the arrays around it a value is in."""
    for level in range(depth):
        if frames[level, 5]:
            entry[after] = frames[level, 6] - 1
            after += 1
    if is_list:
        entry[after] = index - 1


@compiled
def walk(source, forced, tables, logs):  # noqa: PLR0912, PLR0915 - one loop
    """Note the values of documents.

    Args:
        source: The documents.
        forced: 1 for those to leave to Python without a look.
        tables: The nodes that are known.
        logs: What is filled; each has room for what it may get, or the document is left.
    """
    # Arrays have names here, and are not passed on in tuples: counting references to each would take half of the time.
    data, halves, words, starts = source.data, source.halves, source.words, source.starts
    actions, scales, first_children, counts = tables.action, tables.scale, tables.first, tables.children
    element_of, companions = tables.element, tables.companion
    lengths, name, mask, rest, names, masks = (
        tables.length,
        tables.name,
        tables.mask,
        tables.rest,
        tables.names,
        tables.masks,
    )
    log_place, log_value, log_real, elements = logs.place, logs.value, logs.real, logs.elements
    log_raw, log_nulls, log_hard, log_unknown = logs.raw, logs.nulls, logs.hard, logs.unknown
    frames = np.zeros((MAX_DEPTH + 2, 7), np.int64)
    seen = np.zeros(scales.size, np.int64)
    before = np.zeros_like(elements)
    instance = 0
    values, raws, nulls, hards, unknown, rows = 0, 0, 0, 0, 0, 0
    for document in range(starts.size - 1):
        old_values, old_raws, old_nulls, old_hards = values, raws, nulls, hards
        before[:] = elements
        start, limit = starts[document], starts[document + 1] - 1
        good = not forced[document] and not data[limit]
        instance += 1
        depth, node, slot, is_list, expected, mine, index, at = 0, 0, rows, 0, 0, instance, 0, start + 4
        while good:
            if at >= limit:
                # The NUL at the end of a document was looked at when it began.
                good = at == limit
                at += 1
                depth -= 1
                if depth < 0:
                    break
                frame = frames[depth]
                node, slot, limit, expected, mine, is_list, index = (
                    frame[0],
                    frame[1],
                    frame[2],
                    frame[3],
                    frame[4],
                    frame[5],
                    frame[6],
                )
                continue
            kind = np.int64(data[at])
            at += 1
            place = slot
            if is_list:
                while 0x30 <= data[at] <= 0x39:
                    at += 1
                child = element_of[node]
                if child == _NONE or at >= limit or data[at]:
                    good = False
                    break
                at += 1
                place = elements[node]
                elements[node] += 1
                index += 1
            else:
                # Fields mostly come in one order, and some are not there.
                first, count = first_children[node], counts[node]
                child = _NONE
                for _ in range(min(count, 3)):
                    if expected >= count:
                        expected = 0
                    child = first + expected
                    if not (words[at] ^ name[child]) & mask[child]:
                        length = lengths[child]
                        if length < PADDING or _has_rest(words, at, length, rest[child], names, masks):
                            break
                    child = _NONE
                    expected += 1
                if child == _NONE:
                    child = _search(data, words, at, limit, tables, node)
                if child == _NONE and unknown < log_unknown.shape[0]:
                    entry = log_unknown[unknown]
                    entry[0], entry[1], entry[2] = node, at, document
                    unknown += 1
                if child == _NONE or seen[child] == mine:
                    good = False
                    break
                seen[child] = mine
                expected = child - first + 1
                at += lengths[child] + 1
            kind, after, value = _measure(data, halves, words, kind, at, limit)
            if after == _NONE or values >= log_value.size:
                good = False
                break
            action = np.int64(actions[child, kind])
            if action == DECIMAL:
                action, value = _decimal(words, at, scales[child])
                if action == DECIMAL:
                    if hards >= log_hard.shape[0]:
                        good = False
                        break
                    entry = log_hard[hards]
                    entry[0], entry[1], entry[2], entry[3] = child, place, at, document
                    hards += 1
                    action = EMIT
            elif action == JOIN:
                scale = scales[child]
                action = LEAVE
                if scale <= _SHORT and -_LIMITS[scale] <= value <= _LIMITS[scale]:
                    value *= _POWERS[scale]
                    action = EMIT
            elif action == WIDEN:
                action = MISFIT
                if -_EXACT_IN_DOUBLE <= value <= _EXACT_IN_DOUBLE:
                    log_real[values] = value
                    value = log_value[values]
                    action = EMIT
            target = child
            if action == MISFIT:
                target = companions[child]
                if target == _NONE:
                    target = ~child
                action = RAW
            if action in (EMIT, STRUCT, LIST, NOTED):
                log_place[values] = child << NODE_SHIFT | kind << KIND_SHIFT | place
                log_value[values] = elements[child] if action == LIST else value
                values += 1
            if action in (STRUCT, LIST):
                frame = frames[depth]
                frame[0], frame[1], frame[2], frame[3], frame[4], frame[5] = node, slot, limit, expected, mine, is_list
                frame[6] = index
                depth += 1
                instance += 1
                node, slot, limit, expected, mine, index = child, place, after - 1, 0, instance, 0
                is_list = np.int64(action == LIST)
                at += 4
                continue
            if action in (RAW, NOTED):
                if raws >= log_raw.shape[0]:
                    good = False
                    break
                entry = log_raw[raws]
                entry[0], entry[1], entry[2], entry[3], entry[4], entry[5] = target, place, kind, at, after, document
                entry[6] = rows
                _indexes(entry, RAW_FIELDS, frames, depth, is_list, index)
                raws += 1
            elif action == NOTHING and not is_list:
                if nulls >= log_nulls.shape[0]:
                    good = False
                    break
                entry = log_nulls[nulls]
                entry[0], entry[1] = child, rows
                _indexes(entry, NULL_FIELDS, frames, depth, is_list, index)
                nulls += 1
            elif action == LEAVE:
                good = False
                break
            at = after
        if good:
            rows += 1
        else:
            values, raws, nulls, hards = old_values, old_raws, old_nulls, old_hards
            elements[:] = before
            logs.rows[document] = 1
    used = logs.used
    used[0], used[1], used[2], used[3], used[4], used[5] = values, raws, nulls, hards, unknown, rows
