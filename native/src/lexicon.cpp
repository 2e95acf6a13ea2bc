#include "lexicon.h"

#include <cstring>

#include "message.h"

namespace ostinato {
namespace {

constexpr uint64_t PRIME = 0x100000001b3, BASIS = 0xcbf29ce484222325;
constexpr uint32_t EMPTY = 0xffffffff;

uint64_t spread(uint64_t hash) {  // FNV's low bits alone are poor
  hash ^= hash >> 32;
  hash *= 0x9e3779b97f4a7c15;
  return hash ^ (hash >> 29);
}

}  // namespace

Lexicon::Lexicon() : slots_(1024, EMPTY) {}

void Lexicon::grow() {
  std::vector<uint32_t> wider(slots_.size() * 2, EMPTY);
  const uint64_t mask = wider.size() - 1;
  for (uint32_t number = 0; number < words_.size(); ++number) {
    uint64_t at = words_[number].hash & mask;
    while (wider[at] != EMPTY) at = (at + 1) & mask;
    wider[at] = number;
  }
  slots_.swap(wider);
}

uint32_t Lexicon::find(const uint8_t* word, std::size_t size, uint64_t hash, uint64_t& at) const {
  const uint64_t mask = slots_.size() - 1;
  for (at = hash & mask; slots_[at] != EMPTY; at = (at + 1) & mask) {
    const Word& known = words_[slots_[at]];
    if (known.hash == hash && known.size == size && !std::memcmp(bytes_.data() + known.begin, word, size))
      return slots_[at];
  }
  return EMPTY;
}

template <class Visit>
void Lexicon::each(const uint8_t* data, int64_t begin, int64_t end, const uint16_t* table,
                   std::vector<uint8_t>& word, Visit&& visit) const {
  word.resize(std::size_t(end - begin) + 1);
  int64_t i = begin;
  while (i < end) {
    uint64_t hash = BASIS;
    std::size_t size = 0;
    uint16_t as;
    for (; i < end && (as = table[data[i]]) != OST_SEPARATOR; ++i) {
      word[size++] = uint8_t(as);
      hash = (hash ^ as) * PRIME;
    }
    ++i;
    if (size) visit(word.data(), size, spread(hash));
  }
}

void Lexicon::count(const uint8_t* data, const int64_t* ends, int64_t n_texts, int64_t gap, const uint16_t* table) {
  std::vector<uint8_t> word;
  int64_t begin = 0;
  for (int64_t text = 0; text < n_texts; begin = ends[text++] + gap) {
    ++texts_;
    each(data, begin, ends[text], table, word, [&](const uint8_t* bytes, std::size_t size, uint64_t hash) {
      uint64_t at;
      uint32_t number = find(bytes, size, hash, at);
      if (number == EMPTY) {
        if (2 * (words_.size() + 1) > slots_.size()) {
          grow();
          find(bytes, size, hash, at);
        }
        number = uint32_t(words_.size());
        slots_[at] = number;
        words_.push_back({hash, int64_t(bytes_.size()), uint32_t(size), 0, 0, 0});
        bytes_.insert(bytes_.end(), bytes, bytes + size);
      }
      Word& known = words_[number];
      ++known.count;
      if (known.last != texts_) {
        known.last = texts_;
        ++known.texts;
      }
    });
  }
}

void Lexicon::read(uint8_t* words, int64_t* ends, int64_t* counts, int64_t* texts) const {
  if (!bytes_.empty()) std::memcpy(words, bytes_.data(), bytes_.size());
  for (std::size_t i = 0; i < words_.size(); ++i) {
    ends[i] = words_[i].begin + words_[i].size;
    counts[i] = words_[i].count;
    texts[i] = words_[i].texts;
  }
}

void Lexicon::encode(const uint8_t* data, const int64_t* ends, int64_t n_texts, int64_t gap, const uint16_t* table,
                     const int64_t* numbers, int64_t other, int64_t* result, int64_t* result_ends) const {
  std::vector<uint8_t> word;
  int64_t begin = 0, n = 0;
  for (int64_t text = 0; text < n_texts; begin = ends[text++] + gap) {
    each(data, begin, ends[text], table, word, [&](const uint8_t* bytes, std::size_t size, uint64_t hash) {
      uint64_t at;
      const uint32_t found = find(bytes, size, hash, at);
      const int64_t number = found == EMPTY ? other : numbers[found];
      if (number >= 0) result[n++] = number;
    });
    result_ends[text] = n;
  }
}

}  // namespace ostinato

struct ost_lexicon {
  ostinato::Lexicon lexicon;
};

int ost_lexicon_make(ost_lexicon** lexicon) {
  if (!lexicon) return ostinato::fail(OST_INVALID, "no place for the lexicon");
  *lexicon = nullptr;
  return ostinato::guarded([&] {
    *lexicon = new ost_lexicon;
    return int(OST_OK);
  });
}

void ost_lexicon_free(ost_lexicon* lexicon) { delete lexicon; }

int ost_lexicon_count(ost_lexicon* lexicon, const uint8_t* data, const int64_t* ends, int64_t n_texts, int64_t gap,
                      const uint16_t* table) {
  if (!lexicon) return ostinato::fail(OST_INVALID, "no lexicon");
  return ostinato::guarded([&] {
    lexicon->lexicon.count(data, ends, n_texts, gap, table);
    return int(OST_OK);
  });
}

int64_t ost_lexicon_size(const ost_lexicon* lexicon) { return lexicon ? int64_t(lexicon->lexicon.size()) : 0; }

int64_t ost_lexicon_bytes(const ost_lexicon* lexicon) { return lexicon ? int64_t(lexicon->lexicon.bytes()) : 0; }

void ost_lexicon_read(const ost_lexicon* lexicon, uint8_t* words, int64_t* ends, int64_t* counts, int64_t* texts) {
  if (lexicon) lexicon->lexicon.read(words, ends, counts, texts);
}

int ost_lexicon_encode(const ost_lexicon* lexicon, const uint8_t* data, const int64_t* ends, int64_t n_texts, int64_t gap,
                       const uint16_t* table, const int64_t* numbers, int64_t other, int64_t* result,
                       int64_t* result_ends) {
  if (!lexicon) return ostinato::fail(OST_INVALID, "no lexicon");
  return ostinato::guarded([&] {
    lexicon->lexicon.encode(data, ends, n_texts, gap, table, numbers, other, result, result_ends);
    return int(OST_OK);
  });
}
