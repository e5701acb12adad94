"""Strategies, one file each, `plan(problem) -> Plan`: the file name is the strategy's name."""
