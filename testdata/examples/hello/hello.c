/* Prints the greeting that the image holds, and whom it is for. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char line[256];
    FILE *greeting = fopen("/etc/greeting", "r");
    const char *name = getenv("NAME");

    if (greeting == NULL || fgets(line, sizeof line, greeting) == NULL)
        return 1;
    printf("%s", line);
    printf("hello, %s\n", name ? name : "nobody");
    return 0;
}
