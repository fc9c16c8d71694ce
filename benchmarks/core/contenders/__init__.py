"""What is compared: each contender is a script that runs in a process of its own."""
