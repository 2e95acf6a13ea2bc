// Words of texts, counted and numbered: a hash table of bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ostinato.h"

namespace ostinato {

class Lexicon {
 public:
  Lexicon();
  void count(const uint8_t* data, const int64_t* ends, int64_t n_texts, int64_t gap, const uint16_t* table);
  void read(uint8_t* words, int64_t* ends, int64_t* counts, int64_t* texts) const;
  void encode(const uint8_t* data, const int64_t* ends, int64_t n_texts, int64_t gap, const uint16_t* table,
              const int64_t* numbers, int64_t other, int64_t* result, int64_t* result_ends) const;
  std::size_t size() const { return words_.size(); }
  std::size_t bytes() const { return bytes_.size(); }

 private:
  struct Word {
    uint64_t hash;
    int64_t begin;
    uint32_t size;
    int64_t count, texts, last;  // `last`: the text it came in last
  };

  void grow();
  // The number of a word, and the slot where it is or would be.
  uint32_t find(const uint8_t* word, std::size_t size, uint64_t hash, uint64_t& at) const;
  template <class Visit>
  void each(const uint8_t* data, int64_t begin, int64_t end, const uint16_t* table, std::vector<uint8_t>& word,
            Visit&& visit) const;

  std::vector<uint32_t> slots_;
  std::vector<Word> words_;
  std::vector<uint8_t> bytes_;
  int64_t texts_ = 0;
};

}  // namespace ostinato
