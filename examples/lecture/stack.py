from ostinato.keras import Sequential
from ostinato.keras.layers import Embedding, SimpleRNN

model = Sequential()
model.add(Embedding(10000, 32))

# All RNNs need to return a value every timestep
model.add(SimpleRNN(32, return_sequences=True))
model.add(SimpleRNN(32, return_sequences=True))
model.add(SimpleRNN(32, return_sequences=True))

# The last layer of RNN can only return one value
model.add(SimpleRNN(32))
model.summary()
