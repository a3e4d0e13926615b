# Debian's cross compiler for arm64 and the arm64 libraries beside it. With qemu-user-static, ctest runs the tests too.
#
#   cmake -S . -B build/arm64 -DCMAKE_TOOLCHAIN_FILE=tests/arm64/toolchain.cmake
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
# Only the .pc files of arm64, so that nothing of the machine that builds is linked by mistake.
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
find_program(SEMCACHE_QEMU qemu-aarch64-static)
if(SEMCACHE_QEMU)
	set(CMAKE_CROSSCOMPILING_EMULATOR ${SEMCACHE_QEMU})
endif()
