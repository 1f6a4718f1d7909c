"""How the flows get to where they run: deployment file, demo, benchmark and the embedded real parts."""
