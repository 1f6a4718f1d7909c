"""Reading a real source and writing a real target."""
