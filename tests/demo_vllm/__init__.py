"""The loop on real servers: two vLLMs, a gateway in front, Apache Kafka, and Tocsin around them."""
