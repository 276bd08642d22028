#pragma once

// Catch2's one include, for bookworm's 2.13 (one header) and the v3 of newer distributions.

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif
