/* What a core does: setup once, then loop for ever. */
void setup(void);
void loop(void);

int main(int arguments, char **)
{
    setup();
    while (arguments == 1) { loop(); }    /* with an argument: setup is all */
}
