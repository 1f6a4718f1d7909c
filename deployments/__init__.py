"""How the flows get to where they run: deployment files, set-up, demo, benchmark and the embedded real parts."""
