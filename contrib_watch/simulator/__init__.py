"""A simulated ADS: a pure core with a fault script, and a real WebSocket server around it."""
