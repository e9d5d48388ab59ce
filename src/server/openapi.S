// openapi.json as it is, for openapi.cpp.

    .section .rodata
    .global kvasir_openapi_begin
    .global kvasir_openapi_end
kvasir_openapi_begin:
    .incbin "server/openapi.json"
kvasir_openapi_end:
    .section .note.GNU-stack, "", %progbits
