from ostinato.keras.layers import Embedding

embedding_layer = Embedding(1000, 64)
