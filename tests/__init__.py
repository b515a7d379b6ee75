"""The tests. They mirror runtara/ file by file; house/ holds the rules of the house itself."""
