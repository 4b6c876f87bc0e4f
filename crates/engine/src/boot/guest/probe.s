# The probe guest: from reset through every mode to a tick of the APIC timer, doing on the way what firmware and stock
# kernels do. After each step it writes a letter to the debug console, at the end 0x20 to the exit port.
#
# Lies at the start of the last 4 KiB below 1 MiB (F000:F000). `as --64 probe.s -o probe.o && ld -Ttext 0 --oformat binary
# probe.o -o probe.bin` makes the bytes beside it; a test does so and compares.
.intel_syntax noprefix
.code16
start:                          # real mode
  cli
  cld
  lgdt cs:[0xf000+gdtr16]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  .byte 0x66,0xea
  .long 0xff000+p32
  .word 0x08
gdtr16: .word 0x1f
  .long 0xff000+gdt
.code32
p32:                            # protected mode without paging, where OVMF starts
  mov eax, 0x10
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov esp, 0x9000
  mov al, 'P'
  out 0xe9, al
  fwait                         # the x87 unit: a hypervisor that emulates here stumbles first on it
  fninit
  mov al, 'F'
  out 0xe9, al
  # Paging over 4 GiB, identity, 2 MiB pages: PML4 at 0x1000, PDPT at 0x2000, PDs at 0x3000
  xor eax, eax
  mov edi, 0x1000
  mov ecx, 0x1800
  rep stosd
  mov dword ptr [0x1000], 0x2003
  mov dword ptr [0x2000], 0x3003
  mov dword ptr [0x2008], 0x4003
  mov dword ptr [0x2010], 0x5003
  mov dword ptr [0x2018], 0x6003
  mov edi, 0x3000
  mov eax, 0x83
1: mov [edi], eax
  add edi, 8
  add eax, 0x200000
  jnc 1b
  mov eax, 0x1000
  mov cr3, eax
  mov eax, cr4
  or eax, 0x620
  mov cr4, eax
  mov ecx, 0xc0000080
  rdmsr
  or eax, 0x100
  wrmsr
  mov eax, cr0
  and eax, 0xfffffffb
  or eax, 0x80000002
  mov cr0, eax
  .byte 0xea
  .long 0xff000+p64
  .word 0x18
.code64
p64:                            # long mode
  mov al, 'L'
  out 0xe9, al
  # SSE2
  pxor xmm0, xmm0
  movdqa xmm1, xmm0
  mov al, 'S'
  out 0xe9, al
  # BMI2, which the kernel uses to unpack itself
  xor ecx, ecx
  mov eax, 7
  cpuid
  bt ebx, 8
  jnc 2f
  mov eax, 3
  mov edx, 4
  shlx r8d, eax, edx
  cmp r8d, 48
  jne dead
2: mov al, 'B'
  out 0xe9, al
  # XSAVE and AVX, when offered
  mov eax, 1
  cpuid
  bt ecx, 26
  jnc 3f
  bt ecx, 28
  jnc 3f
  mov rax, cr4
  or eax, 0x40000
  mov cr4, rax
  xor ecx, ecx
  xgetbv
  or eax, 7
  xsetbv
  vpxor ymm0, ymm0, ymm0
  vzeroupper
3: mov al, 'V'
  out 0xe9, al
  rdtsc
  # Interrupt table at 0x7000, entry 0x40
  mov edi, 0x7400
  mov eax, offset tick+0xff000
  mov word ptr [rdi], ax
  mov word ptr [rdi+2], 0x18
  mov word ptr [rdi+4], 0x8e00
  shr eax, 16
  mov word ptr [rdi+6], ax
  mov qword ptr [rdi+8], 0
  mov word ptr [0x7800], 0x7ff
  mov qword ptr [0x7802], 0x7000
  lidt [0x7800]
  # One tick of the local APIC's timer
  mov ecx, 0x1b
  rdmsr
  and eax, 0xfffff000
  mov esi, eax
  mov dword ptr [rsi+0xf0], 0x1ff
  mov dword ptr [rsi+0x3e0], 0x3
  mov dword ptr [rsi+0x320], 0x40
  mov dword ptr [rsi+0x380], 100000
  mov al, 'A'
  out 0xe9, al
sleep:
  sti
  hlt
  jmp sleep
tick:
  mov dword ptr [rsi+0xb0], 0
  mov al, 'T'
  out 0xe9, al
  mov al, 0x20
  out 0xf4, al
dead:
  cli
  hlt
  jmp dead
.balign 8
gdt: .quad 0
  .quad 0x00cf9b000000ffff
  .quad 0x00cf93000000ffff
  .quad 0x00af9b000000ffff
