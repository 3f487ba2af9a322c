"""A shop's stock: `python3 inventory.py TABLE host:port...`, on a hash table. Two shoppers never buy the same last piece."""

import sys

from database import Database, Failed


def buy(database, table, item):
    """Takes one piece; false if there is none left. Reads, then writes under the condition that nobody came between."""
    while True:
        record = database.get(table, b"stock", sort=item)
        if record is None or int(record.value) == 0:
            return False
        try:
            database.put_if(table, b"stock", str(int(record.value) - 1).encode(), record.version, sort=item)
            return True
        except Failed as failed:
            if failed.reason != "CONDITION_FAILED":
                raise


def main(table, *addresses):
    database = Database(addresses)
    database.put(table, b"stock", b"2", sort=b"lamp")
    database.put(table, b"stock", b"40", sort=b"chair")
    print("bought:", [buy(database, table, b"lamp") for _ in range(3)])
    for record in database.scan_partition(table, b"stock"):
        print(record.key.sort.decode(), record.value.decode())
    try:
        database.put("no-such-table", b"x", b"y")
    except Failed as failed:
        print("refused:", failed.reason)


if __name__ == "__main__":
    main(*sys.argv[1:])
