"""What a walk has noted of one column, as the buffers of Arrow: compiled, as the walk is."""

# Types are Numba's to find out, of integers too.
# mypy: disable-error-code="no-untyped-def, assignment"

from __future__ import annotations

import numpy as np

from flows.core.parquet.kernel import KIND_SHIFT, NODE_SHIFT, compiled

_HEXADECIMAL = np.frombuffer(b"0123456789abcdef", np.uint8)
_DASH = 0x2D


@compiled
def by_node(place, value, used, nodes):
    """Slots and values of each node in a row, in their order; and where those of each node start."""
    starts = np.zeros(nodes + 1, np.int64)
    for event in range(used):
        starts[(place[event] >> NODE_SHIFT) + 1] += 1
    for index in range(nodes):
        starts[index + 1] += starts[index]
    following = starts.copy()
    slots, values = np.empty(used, np.int32), np.empty(used, np.int64)
    for event in range(used):
        node = place[event] >> NODE_SHIFT
        free = following[node]
        following[node] += 1
        slots[free] = place[event]
        values[free] = value[event]
    return slots, values, starts


@compiled
def bitmap(slots, length):
    """Bits of these slots."""
    bits = np.zeros((length + 7) // 8, np.uint8)
    for slot in slots:
        bits[slot >> 3] |= np.uint8(1 << (slot & 7))
    return bits


@compiled
def true_bits(slots, values, length):
    """Bits of the slots whose value is not zero."""
    bits = np.zeros((length + 7) // 8, np.uint8)
    for index in range(slots.size):
        if values[index]:
            bits[slots[index] >> 3] |= np.uint8(1 << (slots[index] & 7))
    return bits


@compiled
def spread(slots, values, length):
    """Values at their slots, zeros elsewhere."""
    found = np.zeros(length, np.int64)
    for index in range(slots.size):
        found[slots[index]] = values[index]
    return found


@compiled
def wide(slots, values, length):
    """The same as integers of 128 bits."""
    found = np.zeros((length, 2), np.int64)
    for index in range(slots.size):
        found[slots[index], 0] = values[index]
        found[slots[index], 1] = values[index] >> 63
    return found


@compiled
def list_starts(slots, values, length, elements):
    """Where the elements of each list start; one that is not there has none."""
    starts = np.empty(length + 1, np.int32)
    starts[length] = elements
    index = slots.size - 1
    for slot in range(length - 1, -1, -1):
        if index >= 0 and slots[index] == slot:
            starts[slot] = values[index]
            index -= 1
        else:
            starts[slot] = starts[slot + 1]
    return starts


@compiled
def texts(data, halves, slots, values, length, header, trailer):
    """Offsets and bytes of values that begin with their length.

    Args:
        data: All documents.
        halves: The integers of 32 bits in them.
        slots: Of the values.
        values: Where they are.
        length: How many slots there are.
        header: Bytes before the content.
        trailer: Bytes of the length that are not content: a NUL.
    """
    offsets = np.empty(length + 1, np.int32)
    total, index = np.int64(0), 0
    for slot in range(length):
        offsets[slot] = total
        if index < slots.size and slots[index] == slot:
            total += halves[values[index]] - trailer
            index += 1
    offsets[length] = total
    content = np.empty(total, np.uint8)
    for index in range(slots.size):
        begin = values[index] + header
        at, end = offsets[slots[index]], offsets[slots[index] + 1]
        content[at:end] = data[begin : begin + end - at]
    return offsets, content


@compiled
def hexadecimals(data, slots, values, length, header, size, dashes):
    """Offsets and digits of values of one size; with dashes, as a UUID has them."""
    width = 2 * size + (4 if dashes else 0)
    offsets = np.empty(length + 1, np.int32)
    content = np.empty(slots.size * width, np.uint8)
    index, total = 0, 0
    for slot in range(length):
        offsets[slot] = total
        if index < slots.size and slots[index] == slot:
            source = values[index] + header
            for offset in range(size):
                if dashes and offset in (4, 6, 8, 10):
                    content[total] = _DASH
                    total += 1
                byte = data[source + offset]
                content[total] = _HEXADECIMAL[byte >> 4]
                content[total + 1] = _HEXADECIMAL[byte & 15]
                total += 2
            index += 1
    offsets[length] = total
    return offsets, content


@compiled
def tallies(words, place, value, used, counts, sizes, others):
    """Count for a profile what a walk has noted.

    Args:
        words: Of all documents.
        place: Nodes and types of the values.
        value: Themselves, or where they are.
        used: How many there are.
        counts: Filled with how often each type was at each node.
        sizes: Filled by node with integers beyond 2**53, and of decimals the most digits before and behind the point,
            and those that have too many.
        others: Filled with node and position of decimals that want another look.

    Returns:
        How many others there are.
    """
    left = 0
    for event in range(used):
        here, sort = place[event] >> NODE_SHIFT, (place[event] >> KIND_SHIFT) & 255
        counts[here, sort] += 1
        if sort == 0x12 and (value[event] > 2**53 or value[event] < -(2**53)):
            sizes[here, 0] += 1
        elif sort == 0x13:
            low, high = words[value[event]], words[value[event] + 8]
            if (high >> 61) & 3 == 3 or high & 0x1FFFFFFFFFFFF or low < 0:
                others[left, 0], others[left, 1] = here, value[event]
                left += 1
            elif low:
                digits = 0
                while low:
                    low //= 10
                    digits += 1
                exponent = ((high >> 49) & 0x3FFF) - 6176
                whole, scale = max(digits + exponent, 0), max(-exponent, 0)
                if whole + scale > 38:
                    sizes[here, 3] += 1
                else:
                    sizes[here, 1], sizes[here, 2] = max(sizes[here, 1], whole), max(sizes[here, 2], scale)
    return left
