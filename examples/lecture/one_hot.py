from ostinato.keras.preprocessing.text import Tokenizer

samples = ['The cat sat on the mat.', 'The dog ate my homework.']

# Tokenizer, only consider the 1000 most common words
tokenizer = Tokenizer(num_words=1000)
tokenizer.fit_on_texts(samples)

# Turn strings into list of integers
sequences = tokenizer.texts_to_sequences(samples)

# Or directly get the one hot encoding
one_hot_results = tokenizer.texts_to_matrix(samples, mode='binary')

# Retrieve the word index
word_index = tokenizer.word_index
print('Found %s unique tokens.' % len(word_index))
