"""Pretrain: trains a backbone on shards of synthetic faces (sections 3.2, 3.3 and 4.1 of the paper)."""
