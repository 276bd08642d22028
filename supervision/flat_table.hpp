#pragma once

// Flat table: a hash table whose entries lie in one array, beside a byte of each one's hash.
//
// With nodes, as std::unordered_map has them, a look into a table of 100,000 children waits three
// or four times for memory that no cache holds, and growing it walks them all again; here the bytes
// stay in the cache, and where nobody is nothing else is read. Entries move when it grows.

#include <boost/unordered/unordered_flat_map.hpp>

#include <functional>

namespace viva::supervision {

template <class Key, class Value>
using flat_table = boost::unordered_flat_map<Key, Value, std::hash<Key>>;

} // namespace viva::supervision
