"""What is measured, how, and against whom: python -m benchmarks NAME [--small] [--json FILE]"""
